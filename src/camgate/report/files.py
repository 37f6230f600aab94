"""Report, verdict and summary in an audit folder. A verdict is never overwritten by another one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from camgate.audit.result import AuditResult
from camgate.errors import InputError
from camgate.files import atomic_folder, write_text
from camgate.gate.drilled import DrillResult
from camgate.gate.verdict import Verdict
from camgate.report import machine
from camgate.report.html import render_report
from camgate.report.machine import verdict_fingerprint
from camgate.report.trustworthy import trustworthy_evidence

if TYPE_CHECKING:
    from camgate.registry.record import Record

CHAMPION = "champion"
"""The champion's audit, in the candidate's audit folder."""
_FINGERPRINT = re.compile(r'<meta name="camgate-verdict" content="([0-9a-f]{64})">')


def write_evidence(
    folder: str | Path, result: AuditResult, verdict: Verdict, *, champion: AuditResult | None = None
) -> Path:
    """Write a whole audit folder: tables, pictures, verdict, summaries, report; all of it, or nothing.

    Args:
        folder: must not exist yet, or be empty.
        result: the audit.
        verdict: about it.
        champion: audit of today's champion, kept in ``champion/`` and shown in the report.

    Returns:
        Path of the report.

    Raises:
        InputError: the folder holds something already, or cannot be written.
    """
    with atomic_folder(folder) as scratch:
        result.write_into(scratch)
        if champion is not None:
            (scratch / CHAMPION).mkdir()
            champion.write_into(scratch / CHAMPION)
        name = write_judgement(scratch, result, verdict, champion=champion).name
    return Path(folder) / name


def write_judgement(
    folder: str | Path,
    result: AuditResult,
    verdict: Verdict,
    *,
    drill: DrillResult | None = None,
    champion: AuditResult | None = None,
) -> Path:
    """Write all that tells a verdict: its file, summaries for machines and people, evidence, report.

    Args:
        folder: of the audit, or where its files are gathered.
        result: the audit.
        verdict: about it; nothing of another verdict is overwritten.
        drill: shown in the report and the evidence.
        champion: audit of today's champion, shown in the report.

    Returns:
        Path of the report.

    Raises:
        InputError: the folder is missing or cannot be written, or the verdict is not about this audit.
    """
    write_verdict(folder, verdict)
    write_summary(folder, result, verdict)
    write_for_ci(folder, result, verdict)
    write_trustworthy(folder, result, verdict, drill)
    return write_report(folder, result, verdict, drill=drill, champion=champion)


def write_report(
    folder: str | Path,
    result: AuditResult,
    verdict: Verdict,
    *,
    title: str | None = None,
    drill: DrillResult | None = None,
    record: Record | None = None,
    champion: AuditResult | None = None,
) -> Path:
    """Write `report.html` into an audit folder, or `report-<policy>.html` beside another verdict's.

    The report of the same verdict is rendered anew. `drill`, `record` (attempts and waivers of the
    registered version) and `champion` (its audit on the same images) are shown where they are given.

    Raises:
        InputError: the folder is missing or cannot be written, or the verdict is not about this audit.
    """
    page = render_report(result, verdict, title=title, drill=drill, record=record, champion=champion)
    return write_text(_path(folder, "report", ".html", verdict), page)


def write_verdict(folder: str | Path, verdict: Verdict) -> Path:
    """Write `verdict.json`, or `verdict-<first 12 of the policy's digest>.json` beside another verdict.

    The same verdict, judged again, keeps the file that is there. A different one under the same policy
    (another champion, say) gets its own fingerprint into the name as well.

    Raises:
        InputError: the folder is missing or cannot be written.
    """
    path = _path(folder, "verdict", ".json", verdict)
    return path if path.exists() else write_text(path, verdict.to_json())


def write_summary(folder: str | Path, result: AuditResult, verdict: Verdict) -> Path:
    """Write `summary.json`: the verdict in short and the audit's numbers, flat; see `summary_schema`.

    Raises:
        InputError: the folder is missing or cannot be written.
    """
    content = json.dumps(machine.summary(result, verdict), indent=2, allow_nan=False) + "\n"
    return write_text(_path(folder, "summary", ".json", verdict), content)


def write_for_ci(folder: str | Path, result: AuditResult, verdict: Verdict) -> tuple[Path, Path]:
    """Write `junit.xml` (each check a test case) and `summary.md` (for a pull request).

    Beside another verdict's they are called like its report. Those of the same verdict are written anew.

    Raises:
        InputError: the folder is missing or cannot be written.
    """
    return (
        write_text(_path(folder, "junit", ".xml", verdict), machine.junit(verdict)),
        write_text(_path(folder, "summary", ".md", verdict), machine.markdown(result, verdict)),
    )


def write_trustworthy(
    folder: str | Path, result: AuditResult, verdict: Verdict, drill: DrillResult | None = None
) -> tuple[Path, Path]:
    """Write `trustworthy-ai.md` and `trustworthy-ai.json`: the EU's seven key requirements.

    Beside another verdict's they are called like its report.

    Raises:
        InputError: the folder is missing or cannot be written.
    """
    found = trustworthy_evidence(result, verdict, drill)
    content = json.dumps(found.to_dict(), indent=2) + "\n"
    return (
        write_text(_path(folder, "trustworthy-ai", ".md", verdict), found.to_markdown()),
        write_text(_path(folder, "trustworthy-ai", ".json", verdict), content),
    )


def _path(folder: str | Path, stem: str, suffix: str, verdict: Verdict) -> Path:
    """The file name under which this verdict's files belong: the first that no other verdict has taken."""
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; write into the folder that `camgate audit` made.")
    mine = verdict_fingerprint(verdict)
    policy = f"-{verdict.policy_digest[:12]}"
    for name in ("", policy, f"{policy}-{mine[:12]}"):
        if _holders(root, name) <= {mine}:
            return root / f"{stem}{name}{suffix}"
    raise InputError(f"{root}: verdict{policy}-{mine[:12]}.json is damaged; remove it and judge again.")


def _holders(root: Path, name: str) -> set[str | None]:
    """Fingerprints of the verdicts that own the files of this name; None for a file that cannot be read."""
    found: set[str | None] = set()
    for path, read in (
        (root / f"verdict{name}.json", _verdict_in),
        (root / f"summary{name}.json", _verdict_of_summary),
        (root / f"report{name}.html", _verdict_of_report),
    ):
        if path.exists():
            try:
                found.add(read(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                found.add(None)
    return found


def _verdict_in(text: str) -> str | None:
    return verdict_fingerprint(Verdict.model_validate_json(text))


def _verdict_of_summary(text: str) -> str | None:
    content = json.loads(text)
    return content.get("fingerprint") if isinstance(content, dict) else None


def _verdict_of_report(text: str) -> str | None:
    found = _FINGERPRINT.search(text[:4000])
    return found.group(1) if found else None
