"""Steps of the continuous audit: does the champion still verify, and is it still in control."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict
from zenml import save_artifact, step
from zenml.types import HTMLString

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.result import AuditResult
from camgate.data.manifest import audited_rows, data_digest
from camgate.gate.verdict import Status, Verdict
from camgate.materializers.sources import pin
from camgate.operate.charts import ChartOptions
from camgate.operate.delivery import NotifyOptions
from camgate.operate.messages import Kind, Message
from camgate.operate.monitoring import (
    AuditPoint,
    Watched,
    audit_point,
    chart_metrics,
    charts_of,
    watched,
)
from camgate.operate.options import read_options
from camgate.operate.page import render_monitoring
from camgate.registry.files import log_files, log_numbers, run_links
from camgate.registry.runs import finish_run
from camgate.registry.series import add_point, read_points, series_run
from camgate.registry.tracking import audit_run
from camgate.registry.verify import verify
from camgate.steps._tracking import in_pipeline, tracked, tracking_server
from camgate.steps.notify import send, with_evidence

PAGE = "monitoring/report.html"


class Watch(BaseModel):
    """What the continuous audit is about to do.

    Attributes:
        action: `audit`; `nothing_new`: the champion was audited on these images; `unverified`: it does not
            verify, so that an audit of it would say nothing.
        sentence: in plain words.
        uri: `models:/name/version`; the alias may move meanwhile.
        version: of the champion.
        proof: what `verify` says of it: PASS, FAIL or INCONCLUSIVE.
        series: run that holds its audits over time.
        seen, verdict: what the newest audit said, where there is nothing new: that still holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["audit", "nothing_new", "unverified"]
    sentence: str
    uri: str
    version: int
    proof: Status
    series: str
    seen: Watched | None = None
    verdict: Status | None = None


@step(enable_cache=False)
def check_champion(
    manifest: pd.DataFrame,
    name: str,
    alias: str = "champion",
    keys: list[str] | None = None,
    require_proof: bool = False,
    options: dict[str, Any] | None = None,
    experiment: str = "camgate_monitoring",
) -> Annotated[Watch, "watch"]:
    """Verify the champion, and see whether these images are new to it; never cached.

    Args:
        manifest: fresh images, see `load_data`.
        name: registered model in MLflow.
        alias: that the champion holds.
        keys: files of trusted public keys; by default `CAMGATE_TRUSTED_KEYS`.
        require_proof: whether a champion that can only not be proven (no signature, no pinned policy) is
            taken for one that does not verify.
        options: see `camgate.operate.charts.ChartOptions`.
        experiment: MLflow experiment that holds the series.

    Raises:
        RegistryError: there is no champion, or MLflow cannot be reached.
    """
    chosen = read_options(ChartOptions, options, "charts")
    rows, _ = audited_rows(manifest)
    digest = data_digest(rows)
    with tracking_server() as uri:
        found = verify(f"models:/{name}@{alias}", keys=keys or (), tracking_uri=uri)
        series = series_run(name, found.version, experiment=experiment, tracking_uri=uri)
        held = _points(series, uri)
        finish_run(series, tracking_uri=uri)
    faults = [proof.message for proof in found.proofs if proof.status is not Status.PASS]
    watch = Watch(
        action="audit",
        sentence=f"{found.uri} is audited.",
        uri=found.uri,
        version=found.version,
        proof=found.status,
        series=series,
    )
    if found.status is Status.FAIL or (require_proof and faults):
        said = f"{found.uri} does not verify ({found.status}): {'; '.join(faults)}."
        return watch.model_copy(update={"action": "unverified", "sentence": said})
    if any(point.data_digest == digest for point in held):
        seen = watched(f"{name} v{found.version}", held, charts_of(held, chosen), chosen)
        said = f"Nothing new: {found.uri} was audited on these images already. {seen.sentence}"
        told = {"action": "nothing_new", "sentence": said, "seen": seen, "verdict": held[-1].verdict}
        return watch.model_copy(update=told)
    return watch


@step(enable_cache=False)
def chart_audit(
    watch: Watch,
    result: AuditResult,
    verdict: Verdict,
    name: str,
    options: dict[str, Any] | None = None,
    notify: dict[str, Any] | None = None,
    experiment: str | None = None,
) -> Annotated[Watched, "watched"]:
    """Add the audit to the champion's series, draw the control charts, and tell an alarm; never cached.

    The series' run gets a step of each metric, `monitor/<measure>/<part>` with its interval, centre, limit
    and average, and the page `monitoring/report.html`, which is also the artifact `monitoring`.

    Args:
        watch: of `check_champion`.
        result: the champion's audit on the fresh images.
        verdict: of `gate_promotion` about it; one that is not PASS is told, too.
        name: registered model in MLflow.
        options: see `camgate.operate.charts.ChartOptions`.
        notify: whom to tell: `camgate.operate.delivery.NotifyOptions`.
        experiment: MLflow experiment of this run; by default the pipeline's name.
    """
    chosen = read_options(ChartOptions, options, "charts")
    people = read_options(NotifyOptions, notify, "notify")
    with tracked(experiment) as run:
        held = audit_run(run.run_id, result, tracking_uri=run.uri)
        point = audit_point(result, verdict, held, chosen)
        mark = hashlib.sha256(f"{held}{result.data_digest}".encode()).hexdigest()[:8]
        stamp = "".join(letter for letter in point.time if letter.isalnum())
        add_point(watch.series, f"{stamp}-{mark}.json", point.model_dump_json(), tracking_uri=run.uri)
        points = _points(watch.series, run.uri)
        charts = charts_of(points, chosen)
        newest = len(points) - 1
        found = watched(f"{name} v{watch.version}", points, charts, chosen)
        found = found.model_copy(update={"run_id": watch.series})
        page = render_monitoring(f"{name} version {watch.version}", points, charts, found)
        log_files(watch.series, {PAGE: page}, tracking_uri=run.uri)
        numbers = chart_metrics(charts, newest)
        log_numbers(watch.series, numbers, prefix="monitor/", step=newest + 1, tracking_uri=run.uri)
        message = with_evidence(_message(name, found, verdict), result, held, tracking_uri=run.uri)
        links = run_links(watch.series, {"control charts": PAGE}, tracking_uri=run.uri)[1:]
    send(Message(**{**vars(message), "links": (*message.links, *links)}), people)
    if in_pipeline():
        save_artifact(HTMLString(page), name="monitoring")
    return found


def _points(series: str, uri: str | None) -> list[AuditPoint]:
    held = read_points(series, tracking_uri=uri)
    return [AuditPoint.from_json(text, file) for file, text in held.items()]


def _message(name: str, found: Watched, verdict: Verdict) -> Message:
    kind: Kind = "in_control"
    if found.status == "alarm":
        kind = "alarm"
    elif verdict.status is not Status.PASS:
        kinds: dict[Status, Kind] = {Status.FAIL: "alarm", Status.INCONCLUSIVE: "inconclusive"}
        kind = kinds.get(verdict.status, "error")
    first, second = found.sentence, f"On the fresh images: {verdict.sentence}"
    if found.status != "alarm" and kind != "in_control":
        first, second = second, first
    return Message(kind=kind, subject=name, sentence=first, notes=(second,))


pin(Watch)
pin(Watched)
pin(check_champion.entrypoint)
pin(chart_audit.entrypoint)
