"""One self-contained HTML page a person can judge from: no file beside it, no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from camgate.audit.result import AuditResult
from camgate.errors import InputError
from camgate.gate.drilled import DrillResult
from camgate.gate.verdict import Status, Verdict
from camgate.report import checks, drills, gallery, looks, parts, predictions, records, sections, text
from camgate.report.machine import verdict_fingerprint
from camgate.report.trustworthy import trustworthy_evidence
from camgate.report.words import BASELINES, BLIND_SPOTS, MEANING, ON_BLOCK, reason_in_words

if TYPE_CHECKING:
    from camgate.registry.record import Record


def render_report(
    result: AuditResult,
    verdict: Verdict,
    *,
    title: str | None = None,
    drill: DrillResult | None = None,
    record: Record | None = None,
    champion: AuditResult | None = None,
) -> str:
    """Render an audit and its verdict as one HTML page.

    Args:
        result: the audit.
        verdict: the gate's answer about this audit.
        drill: what mutation testing of the gate found, shown where it is given.
        record: of the version that holds this model: earlier attempts and waivers, shown where it is given.
        champion: audit of today's champion on the same images, shown beside the candidate's numbers.
        title: heading; by default the model's URI, or the beginning of its digest.

    Returns:
        The page. Its pictures are embedded and reduced until all of them fit `pictures.BUDGET`; every
        string from the data is escaped, control and direction characters are made visible.

    Raises:
        InputError: the verdict is about another model or other data than the audit, or the record about
            another model.
    """
    for name in ("model_digest", "data_digest"):
        ours, theirs = getattr(result, name), getattr(verdict, name)
        if ours != theirs:
            raise InputError(
                f"the verdict belongs to another audit: its {name} is {theirs[:12]}, "
                f"the audit's is {ours[:12]}. "
                "Judge this audit again."
            )
    style, script = _asset("report.css"), _asset("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=title or result.model_uri or f"model {result.model_digest[:12]}",
            result=result,
            verdict=verdict,
            settings=result.settings,
            status=verdict.status,
            meaning=MEANING[verdict.status],
            reason=_deciding_reason(verdict),
            on_block=ON_BLOCK.get(verdict.on_block, "") if verdict.status is not Status.PASS else "",
            numbers=sections.key_numbers(result, verdict),
            checks=checks.check_rows(verdict, gallery.anchors(result)),
            distribution=sections.distribution(result, verdict),
            baselines=[
                (name, *BASELINES[name], text.number(result.baselines.get(name), "percent"))
                for name in BASELINES
            ],
            classes=parts.class_table(result, verdict),
            slices=parts.slice_table(result, verdict),
            causal=sections.causal(result, verdict),
            drill=None if drill is None else drills.drill_section(drill),
            record=None if record is None else records.record_section(record, verdict),
            gallery=gallery.gallery(result),
            averages=looks.averages(result),
            examples=looks.examples(result),
            comparison=() if champion is None else looks.comparison(result, champion),
            predictions=predictions.predictions(result),
            command=sections.command(result),
            trustworthy=trustworthy_evidence(result, verdict, drill),
            states=sections.states(result),
            unreadable=sections.unreadable(result),
            blind_spots=BLIND_SPOTS,
            fingerprint=verdict_fingerprint(verdict),
            style=style,
            script=script,
            style_hash=_source_hash(style),
            script_hash=_source_hash(script),
        )
    )


def _deciding_reason(verdict: Verdict) -> str:
    """The verdict's reason as the check says it that decided."""
    for check in verdict.checks:
        if (check.status, check.reason) == (verdict.status, verdict.reason):
            return checks.reason_of(check)
    return reason_in_words(verdict.reason)


def _source_hash(source: str) -> str:
    """The hash by which the page's content policy allows exactly this inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")


def _finalise(value: Any) -> Any:
    """Last step before escaping: strings from data lose their control characters."""
    return text.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _asset(name: str) -> Markup:
    source = (files("camgate.report") / "templates" / name).read_text(encoding="utf-8")
    return Markup(source)  # noqa: S704 - a file of this package, never data


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("camgate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalise,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=text.count, sentence=text.sentence, when=text.when)
    return environment
