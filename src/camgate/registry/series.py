"""The audits of one champion over time, kept in one run: a file and a step of each metric for each audit."""

from __future__ import annotations

from camgate.registry import names
from camgate.registry.files import log_files, read_folder
from camgate.registry.runs import open_run

POINTS = "monitoring/points"


def series_run(name: str, version: int, *, experiment: str, tracking_uri: str | None = None) -> str:
    """The run that holds the series of one version; made where there is none.

    Another champion begins a series of its own: its predecessor's limits say nothing of it.

    Raises:
        RegistryError: MLflow refuses or cannot be reached.
    """
    key = names.key(f"monitoring {name}")[:200]
    return open_run(
        experiment=experiment,
        key=f"{key}/{version}",
        name=f"monitoring {name} v{version}",
        tracking_uri=tracking_uri,
    )


def read_points(run_id: str, *, tracking_uri: str | None = None) -> dict[str, str]:
    """The audits of a series, file name -> JSON; the names sort by time."""
    return read_folder(run_id, POINTS, tracking_uri=tracking_uri)


def add_point(run_id: str, name: str, text: str, *, tracking_uri: str | None = None) -> None:
    """Add an audit to a series. The file of another audit is never touched, so two may add at once."""
    log_files(run_id, {f"{POINTS}/{name}": text}, tracking_uri=tracking_uri)
