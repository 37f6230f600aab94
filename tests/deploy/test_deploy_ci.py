"""The CI recipes fit their published schemas, and their commands are run as a runner would run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest
import yaml

from candidates import LENIENT, STRICT, make_candidate

REPO = Path(__file__).resolve().parents[2]
RECIPES = REPO / "examples" / "ci"
GITHUB, GITLAB, PYTEST = (
    RECIPES / name for name in ("github-actions.yml", "gitlab-ci.yml", "test_candidate.py")
)
PROGRAMS = {
    "camgate": 'exec "{python}" -m camgate.cli "$@"',
    # All of pip's work but the installation (arguments, constraints, metadata), once for each command.
    "pip": 'done="$0-$(echo "$*" | cksum | cut -d" " -f1)"; test -e "$done" || '
    '"{python}" -m pip --quiet "$@" --dry-run --no-deps --no-build-isolation && touch "$done"',
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a runner has checked out: model, data, and camgate as a submodule."""
    root = tmp_path_factory.mktemp("checkout")
    make_candidate(root)
    camgate = root / "third_party" / "camgate"
    for name in ("src", "steps", "pipelines"):
        shutil.copytree(
            REPO / name,
            camgate / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"),
        )
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(REPO / name, camgate / name)
    (root / "bin").mkdir()
    for name, line in PROGRAMS.items():
        program = root / "bin" / name
        program.write_text(f"#!/bin/sh\n{line.format(python=sys.executable)}\n")
        program.chmod(0o755)
    return root


@pytest.fixture
def job(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own on that checkout, and the programs that it calls."""
    for name in ("data", "model", "third_party"):
        (tmp_path / name).symlink_to(checkout / name)
    monkeypatch.setenv("PATH", f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPO / "src"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page.md"))
    return tmp_path


def terms(folder: Path, policy: dict[str, Any]) -> None:
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")


def shell(script: str, folder: Path, **environment: str) -> int:
    """Both runners run a script in bash and stop at the first command that fails."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    return done.returncode


def github_job(folder: Path) -> int:
    """Run the steps of the job: after a failure only those that always run."""
    (steps,) = [job["steps"] for job in yaml.safe_load(GITHUB.read_text(encoding="utf-8"))["jobs"].values()]
    failed = 0
    for step in steps:
        assert step.get("if", "always()") == "always()", "this runner knows no other condition"
        if failed and "if" not in step:
            continue
        if "run" in step:
            code = shell(step["run"], folder)
            failed = failed or code
        elif step["uses"].startswith("actions/upload-artifact"):
            assert step["with"]["if-no-files-found"] == "error"
            failed = failed or int(not any((folder / step["with"]["path"]).rglob("*")))
    return failed


def gitlab_job(folder: Path, *environments: dict[str, str]) -> int:
    """`before_script` and `script` in one shell; `after_script` in another, in each environment."""
    (recipe,) = yaml.safe_load(GITLAB.read_text(encoding="utf-8")).values()
    failed = shell("\n".join(recipe["before_script"] + recipe["script"]), folder)
    for environment in environments:
        assert shell("\n".join(recipe["after_script"]), folder, **environment) == 0
    assert recipe["artifacts"]["when"] == "always"
    assert (folder / recipe["artifacts"]["reports"]["junit"]).is_file()
    assert all((folder / path).is_dir() for path in recipe["artifacts"]["paths"])
    return failed


@pytest.mark.parametrize(("schema", "file"), [("github-workflows", GITHUB), ("gitlab-ci", GITLAB)])
def test_a_recipe_fits_its_published_schema(schema: str, file: Path, tmp_path: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*check, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / file.name
    wrong.write_text(
        file.read_text(encoding="utf-8").replace("uses:", "use:").replace("script:", "scrpt:", 1)
    )
    assert subprocess.run([*check, str(wrong)], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(("policy", "code", "verdict"), [(LENIENT, 0, "PASS"), (STRICT, 1, "FAIL")])
def test_the_job_on_github(policy: dict[str, Any], code: int, verdict: str, job: Path) -> None:
    terms(job, policy)
    assert github_job(job) == code
    assert verdict in (job / "page.md").read_text(encoding="utf-8")
    suite = ElementTree.parse(job / "audit" / "junit.xml").getroot()
    assert len(list(suite.iter("failure"))) == code


def test_a_job_that_cannot_audit_fails(job: Path) -> None:
    terms(job, {"cheks": {}})
    assert github_job(job) == 2
    assert not (job / "audit").exists()


@dataclass
class Notes:
    """What was posted: path, token, fields."""

    uri: str = ""
    posted: list[tuple[str, str | None, dict[str, list[str]]]] = field(default_factory=list)


@pytest.fixture
def notes() -> Iterator[Notes]:
    """The part of GitLab's API that takes notes, on loopback."""
    received = Notes()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            received.posted.append((self.path, self.headers["PRIVATE-TOKEN"], parse_qs(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *rest: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.uri = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield received
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the image of the recipe has curl, this machine not")
def test_the_job_on_gitlab_and_its_note(job: Path, notes: Notes) -> None:
    terms(job, STRICT)
    environment = {"CI_API_V4_URL": notes.uri, "CI_PROJECT_ID": "7", "CI_MERGE_REQUEST_IID": "3"}
    assert gitlab_job(job, environment, environment | {"NOTE_TOKEN": "secret"}) == 1
    ((path, token, fields),) = notes.posted  # none without the token
    assert (path, token) == ("/projects/7/merge_requests/3/notes", "secret")
    assert fields == {"body": [(job / "audit" / "summary.md").read_text(encoding="utf-8")]}


def test_the_candidate_as_a_test(job: Path) -> None:
    terms(job, LENIENT)
    shutil.copy(PYTEST, job)
    (command,) = [line for line in PYTEST.read_text(encoding="utf-8").split("`") if "pytest" in line]
    if not any(each.name == "camgate" for each in entry_points(group="pytest11")):
        command += " -p camgate.pytest_plugin"
    alone = f" -p no:cacheprovider -c {os.devnull} --rootdir . --basetemp kept"
    assert shell(command.replace("python", sys.executable) + alone, job) == 0
    assert "PASS" in (job / "page.md").read_text(encoding="utf-8")
    (case,) = ElementTree.parse(job / "junit.xml").getroot().iter("testcase")
    properties = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert properties["camgate.status"] == "PASS"
    assert (job / "audit" / "report.html").is_file()
