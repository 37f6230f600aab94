"""The dependencies: each import is declared, each declared package is imported, none has known holes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.outcome import Outcome, not_checked, outcome

SETTINGS = "tools/release.toml"
SERVICES = ("pypi", "osv")
# A release that is known to have holes: a service that does not say so knows nothing.
CANARY = "requests==2.19.0"


def settings(repo: Path) -> dict[str, Any]:
    """The reasons that `tools/release.toml` gives."""
    return tomllib.loads((repo / SETTINGS).read_text(encoding="utf-8"))


def check_imports(repo: Path) -> Outcome:
    """What deptry finds in `src`; `[tool.deptry]` in pyproject.toml has what is ignored, and why."""
    command = [sys.executable, "-m", "deptry", "src", "--no-ansi"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if " DEP0" in line]
    if done.returncode != 0 and not said:
        said = [f"deptry ended with {done.returncode}: {done.stderr.strip()[-500:]}"]
    return outcome("imports and declared dependencies agree (deptry)", said)


def check_vulnerabilities(repo: Path, services: Iterable[str] = SERVICES) -> Outcome:
    """What pip-audit finds in constraints.txt, where a service answers that knows the canary's holes."""
    name = "no known vulnerabilities (pip-audit)"
    silent = []
    for service in services:
        why = unanswered(service)
        if why is None:
            report, said = audited(repo / "constraints.txt", service)
            if report is None:
                return outcome(name, [f"pip-audit with {service}: {said}"])
            ignored = settings(repo)["vulnerabilities"]
            found = [*unexplained(report, ignored)]
            skipped = [f"not checked: {each}" for each in skips(report)]
            return outcome(f"{name}, asked of {service}", found, skipped)
        silent.append(f"{service}: {why}")
    return not_checked(name, "; ".join(silent))


def unanswered(service: str) -> str | None:
    """Why a service cannot be asked; None where it can."""
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder, "canary.txt")
        canary.write_text(f"{CANARY}\n", encoding="utf-8")
        report, said = audited(canary, service)
    if report is None:
        return said
    if any(each.get("vulns") for each in report["dependencies"]):
        return None
    reasons = [each["skip_reason"] for each in report["dependencies"] if "skip_reason" in each]
    return "; ".join(reasons) or f"it knows of no hole in {CANARY}, which has some"


def audited(requirements: Path, service: str) -> tuple[dict[str, Any] | None, str]:
    """pip-audit's report on exact requirements, or None with the last thing it said."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command += ["--vulnerability-service", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout), ""
    except ValueError:
        return None, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]


def unexplained(report: Mapping[str, Any], ignored: Mapping[str, str]) -> Iterator[str]:
    """Findings that nobody has given a reason for, and reasons for what is not found any more."""
    known: set[str] = set()
    for package in report["dependencies"]:
        for hole in package.get("vulns", ()):
            names = {hole["id"], *hole.get("aliases", ())}
            known |= names
            if not names & ignored.keys():
                fixed = ", ".join(hole.get("fix_versions", ())) or "no version"
                yield f"{package['name']} {package['version']}: {hole['id']}, fixed in {fixed}"
    for name in ignored.keys() - known:
        yield f"{SETTINGS}: {name} is not found any more; take it out"


def skips(report: Mapping[str, Any]) -> Iterator[str]:
    """Packages that the service does not know."""
    for package in report["dependencies"]:
        if "skip_reason" in package:
            yield f"{package['name']}: {package['skip_reason']}"
