"""The release check: what it says of this checkout, and that it sees what is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from tools import dependencies, distributions, licences, papers, version
from tools.outcome import FAILED, NOT_CHECKED, OK, REPO, outcome
from tools.release_check import quick


def test_this_checkout_passes_what_takes_seconds() -> None:
    found = list(quick(REPO))
    assert [str(each) for each in found if each.state != OK] == []
    assert len(found) == 4


def test_an_outcome_in_words() -> None:
    assert str(outcome("papers", ["one is missing"])) == f"{FAILED:<12} papers\n{'':<12}   one is missing"
    assert outcome("papers", []).state == OK


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small checkout in git, with nothing wrong in it."""
    for name, text in {
        "src/camgate/_version.py": '__version__ = "1.2.0.dev0"\n',
        "src/camgate/gate/checks.py": "CAMGATE_KEY = allow_code = 1\n",
        "pyproject.toml": '[project]\nname = "camgate"\ndynamic = ["version"]\n',
        "CHANGELOG.md": "# Changelog\n\n## 1.2.0 (unreleased)\n",
        "CONTRIBUTING.md": "`make docs`, `src/camgate/gate`, `gate/checks.py`\n",
        "SECURITY.md": "`--allow-code`, `CAMGATE_KEY`\n",
        "Makefile": "docs:\n\ttrue\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


def add(project: Path, name: str, text: str) -> None:
    (project / name).write_text(text)
    subprocess.run(["git", "add", "."], cwd=project, check=True)


def test_a_version_that_is_as_it_should_be(project: Path) -> None:
    found = version.check_version(project)
    assert found.state == OK
    assert "1.2.0.dev0 is a development version" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("conf.py", 'version = "1.2.0.dev0"\n', "conf.py: says the version"),
        ("pyproject.toml", '[project]\nversion = "1.2.0"\n', "must be dynamic"),
        ("CHANGELOG.md", "## 1.1.0\n", "no heading `## 1.2.0`"),
        ("CHANGELOG.md", "## 1.2.0 (2026-12-01)\n", "the version is 1.2.0.dev0, the heading"),
        ("src/camgate/_version.py", '__version__ = "1.2.0"\n', "the version is 1.2.0, the heading"),
    ],
)
def test_a_version_that_is_not(name: str, text: str, said: str, project: Path) -> None:
    add(project, name, text)
    assert said in str(version.check_version(project))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("`src/camgate/gate` `make nosuch`", "there is no `make nosuch`"),
        ("`src/camgate/gate` `gate/gone.py`", "there is no `gate/gone.py`"),
        ("`src/camgate/gate` `--allow-everything`", "the code knows no `--allow-everything`"),
        ("nothing", "the map leaves out `src/camgate/gate`"),
    ],
)
def test_papers_that_name_what_is_not_there(text: str, said: str, project: Path) -> None:
    assert papers.check_papers(project).findings == ()
    add(project, "CONTRIBUTING.md", text)
    assert said in str(papers.check_papers(project))
    (project / "SECURITY.md").unlink()
    assert "SECURITY.md is missing" in papers.check_papers(project).findings


def test_an_import_that_is_not_declared(project: Path) -> None:
    add(project, "pyproject.toml", '[project]\nname = "camgate"\nversion = "1"\ndependencies = []\n')
    assert dependencies.check_imports(project).state == OK
    add(project, "src/camgate/gate/net.py", "import requests\n")
    assert "'requests'" in dependencies.check_imports(project).findings[0]


REPORT = {
    "dependencies": [
        {"name": "fine", "version": "1", "vulns": []},
        {"name": "odd", "skip_reason": "not found"},
        {
            "name": "holed",
            "version": "2",
            "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}],
        },
    ]
}


def test_known_holes_fail_unless_explained_and_explanations_end_with_them() -> None:
    assert [*dependencies.unexplained(REPORT, {})] == ["holed 2: PYSEC-1, fixed in 3"]
    assert [*dependencies.unexplained(REPORT, {"CVE-1": "not called"})] == []
    (stale,) = dependencies.unexplained({"dependencies": []}, {"CVE-1": "not called"})
    assert "not found any more" in stale
    assert [*dependencies.skips(REPORT)] == ["odd: not found"]


def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: dict[str, Any]) -> None:
    """pip-audit, as it answers by the file that it is asked about."""
    (tmp_path / "pip_audit.py").write_text(
        "import json, sys\n"
        f"reports = json.loads({json.dumps(json.dumps(reports))})\n"
        "name = sys.argv[sys.argv.index('--requirement') + 1].rpartition('/')[2]\n"
        "report = reports[name]\n"
        "print(json.dumps(report)) if report else sys.exit('ConnectionError: no such host')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize(
    ("canary", "state", "said"),
    [
        (None, NOT_CHECKED, "ConnectionError: no such host"),
        ({"dependencies": [{"name": "requests", "skip_reason": "not found"}]}, NOT_CHECKED, "not found"),
        (
            {"dependencies": [{"name": "requests", "version": "2", "vulns": []}]},
            NOT_CHECKED,
            "knows of no hole",
        ),
        (REPORT, FAILED, "holed 2: PYSEC-1"),
    ],
)
def test_a_service_that_knows_nothing_is_no_good_news(
    canary: Any, state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service(tmp_path, monkeypatch, {"canary.txt": canary, "constraints.txt": REPORT})
    found = dependencies.check_vulnerabilities(REPO, services=["pypi"])
    assert found.state == state
    assert said in str(found)


TERMS = {"licences": {"allowed": ["MIT", "Apache-2.0"], "explained": {"nv-*": "its own terms"}}}


@pytest.mark.parametrize(
    ("licence", "odd"),
    [
        ("MIT", False),
        ("MIT OR Apache-2.0", False),
        ("MIT; GNU General Public License v3 (GPLv3)", True),
        ("Apache-2.0 AND AGPL-3.0-only", True),
        ("UNKNOWN", True),
    ],
)
def test_a_licence_that_nobody_has_looked_at(licence: str, odd: bool) -> None:
    assert bool([*licences.unexplained({"package": licence}, TERMS)]) == odd
    assert [*licences.unexplained({"nv-cuda": licence}, TERMS)] == []


def test_where_a_licence_is_declared() -> None:
    stated = Message()
    assert licences.declared_licence(stated) == "UNKNOWN"
    stated["License"] = "MIT\nPermission is hereby granted"
    assert licences.declared_licence(stated) == "MIT"
    stated["Classifier"] = "License :: OSI Approved"
    assert licences.declared_licence(stated) == "MIT"
    stated["Classifier"] = "License :: OSI Approved :: BSD License"
    assert licences.declared_licence(stated) == "BSD License"
    stated["License-Expression"] = "BSD-3-Clause"
    assert licences.declared_licence(stated) == "BSD-3-Clause"


def test_the_closure_follows_extras() -> None:
    assert {"securesystemslib", "cryptography"} <= licences.closure(["securesystemslib[crypto]"])
    assert "cryptography" not in licences.closure(["securesystemslib"])


def test_what_a_distribution_lacks_or_has_too_much(tmp_path: Path) -> None:
    names = ["src/camgate/a.py", "src/camgate/steps", "steps/b.py", "tests/t.py", "src/camgate/x.html"]
    wanted = distributions.packaged(names)
    assert wanted == {"camgate/a.py", "camgate/steps/b.py", "camgate/x.html"}
    wheel = tmp_path / "camgate-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("camgate/a.py", "camgate/x.html", "tests/t.py", "camgate-1.dist-info/METADATA"):
            archive.writestr(name, "content")
    held = distributions.wheel_files(wheel)
    found = [*distributions.missing("wheel", wanted, held)]
    assert "the wheel lacks camgate/steps/b.py" in found
    assert "the wheel has no .yaml file at all" in found
    assert [*distributions.strays(held)] == ["the wheel installs tests/t.py, outside of the package"]
    assert distributions.differing(
        held, held | {"camgate/a.py": "other", "camgate-1.dist-info/RECORD": "x"}
    ) == ["camgate/a.py"]
    sdist = tmp_path / "camgate-1.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        member = tarfile.TarInfo("camgate-1/src/camgate/a.py")
        member.size = 7
        archive.addfile(member, io.BytesIO(b"content"))
    assert distributions.sdist_files(sdist) == {"src/camgate/a.py": held["camgate/a.py"]}


def test_the_command_line_of_the_check() -> None:
    command = [sys.executable, "-m", "tools.release_check", "--help"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout
