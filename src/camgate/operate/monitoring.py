"""A champion over time: each audit becomes a point, and each measure of each class a control chart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from camgate.audit.result import AuditResult
from camgate.audit.statistics import Estimate, Sample
from camgate.audit.summary import Composites, Measures, Rows, parts
from camgate.errors import InputError, some_of
from camgate.gate.verdict import Status, Verdict
from camgate.operate.charts import Charted, ChartOptions, Reading, control_chart

MEASURES = {"invalid_activation": "invalid activation", "background_gap": "background gap"}
WHOLE = "overall"


class AuditPoint(BaseModel):
    """One audit of a champion, as its charts keep it.

    Attributes:
        time: when it was made, ISO 8601.
        model_digest, data_digest: what was audited, on what.
        run_id: run that holds the audit.
        verdict, sentence: of the gate.
        readings: measure -> part of the data (`overall`, `class dog`) -> number with its interval.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: str
    model_digest: str
    data_digest: str
    run_id: str
    verdict: Status
    sentence: str
    readings: dict[str, dict[str, Reading]]

    @classmethod
    def from_json(cls, text: str, source: str) -> AuditPoint:
        """Read what `model_dump_json` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{source}: no audit of a series ({error.errors()[0]['msg']})") from error


@dataclass(frozen=True)
class Chart:
    """One measure of one part of the data over time."""

    measure: str
    part: str
    points: tuple[Charted, ...]
    indices: tuple[int, ...]
    """Of the audits that these points are, from 0."""

    @property
    def name(self) -> str:
        """`background gap, class dog`."""
        return f"{MEASURES[self.measure]}, {self.part}"

    def alarm_at(self, index: int) -> bool:
        """Whether this audit raised an alarm here."""
        return any(point.alarm for at, point in zip(self.indices, self.points, strict=True) if at == index)


class Watched(BaseModel):
    """What the newest audit says of the champion.

    Attributes:
        status: `baseline` while the limits are being made, `in_control`, `alarm`.
        audits: in the series.
        alarms: names of the charts that raise one.
        sentence: in plain words.
        run_id: run that holds the series.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["baseline", "in_control", "alarm"]
    audits: int
    alarms: tuple[str, ...] = ()
    sentence: str
    run_id: str = ""


def audit_point(result: AuditResult, verdict: Verdict, run_id: str, options: ChartOptions) -> AuditPoint:
    """What the charts keep of an audit: invalid activation and background gap, whole and by class."""
    rows: dict[str, Rows | None] = {WHOLE: None}
    if len(result.classes) <= options.most_classes:
        named = {f"class {label}" for label in result.classes}
        rows |= {part: found for part, found in parts(result).items() if part in named and len(found)}
    measures, composites = Measures(result), Composites(result)
    readings: dict[str, dict[str, Reading]] = {measure: {} for measure in MEASURES}
    for part, chosen in rows.items():
        _put(readings["invalid_activation"], part, measures.activation(chosen))
        _put(readings["background_gap"], part, composites.sample(chosen))
    return AuditPoint(
        time=result.created,
        model_digest=result.model_digest,
        data_digest=result.data_digest,
        run_id=run_id,
        verdict=verdict.status,
        sentence=verdict.sentence,
        readings=readings,
    )


def charts_of(points: Sequence[AuditPoint], options: ChartOptions | None = None) -> tuple[Chart, ...]:
    """Every chart of a series, the audits in order of time."""
    options = options or ChartOptions()
    series: dict[tuple[str, str], list[tuple[int, Reading]]] = {}
    for index, point in enumerate(points):
        for measure, found in point.readings.items():
            for part, reading in found.items():
                series.setdefault((measure, part), []).append((index, reading))
    return tuple(
        Chart(
            measure,
            part,
            tuple(control_chart([reading for _, reading in held], options, charts=len(series))),
            tuple(index for index, _ in held),
        )
        for (measure, part), held in series.items()
        if measure in MEASURES
    )


def watched(
    name: str, points: Sequence[AuditPoint], charts: Sequence[Chart], options: ChartOptions
) -> Watched:
    """Sum the newest audit up."""
    newest = len(points) - 1
    alarms = tuple(chart.name for chart in charts if chart.alarm_at(newest))
    if alarms:
        found = [chart for chart in charts if chart.name in alarms]
        worst = max(found, key=_excess)
        point = worst.points[-1]
        said = (
            f"{name} drifts: {worst.name} is {_number(point.reading.value)} (95 % interval "
            f"{_number(point.reading.low)} to {_number(point.reading.high)}) and was {_number(point.centre)} "
            f"at the beginning; out of control: {some_of(alarms, 4)}."
        )
        return Watched(status="alarm", audits=len(points), alarms=alarms, sentence=said)
    if len(points) <= options.baseline:
        said = (
            f"{name}: audit {len(points)} of the {options.baseline} that the control limits are made of; "
            "there is no alarm before they are there."
        )
        return Watched(status="baseline", audits=len(points), sentence=said)
    said = f"{name} is in control at audit {len(points)}: no chart of {len(charts)} raises an alarm."
    return Watched(status="in_control", audits=len(points), sentence=said)


def chart_metrics(charts: Sequence[Chart], index: int) -> dict[str, float]:
    """The numbers of one audit for MLflow's charts: value, interval, centre, limit and average of each."""
    numbers: dict[str, float] = {"alarms": float(sum(chart.alarm_at(index) for chart in charts))}
    for chart in charts:
        for at, point in zip(chart.indices, chart.points, strict=True):
            if at == index:
                stem = f"{chart.measure}/{chart.part}"
                numbers |= {
                    stem: point.reading.value,
                    f"{stem}/ci_low": point.reading.low,
                    f"{stem}/ci_high": point.reading.high,
                    f"{stem}/centre": point.centre,
                    f"{stem}/limit": point.limit,
                    f"{stem}/average": point.average,
                    f"{stem}/average_limit": point.average_limit,
                }
    return numbers


def _put(readings: dict[str, Reading], part: str, sample: Sample | None) -> None:
    estimate: Estimate | None = None if sample is None else sample.at(0.95)
    if (
        estimate is None
        or not estimate.n
        or not np.isfinite([estimate.value, estimate.low, estimate.high]).all()
    ):
        return
    readings[part] = Reading(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        groups=estimate.groups,
    )


def _excess(chart: Chart) -> float:
    """By how many of its own standard errors the newest point is above the centre."""
    point = chart.points[-1]
    return (point.reading.value - point.centre) / point.reading.noise


def _number(value: float) -> str:
    return f"{value:.2f}"
