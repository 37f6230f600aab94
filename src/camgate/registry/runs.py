"""One MLflow run per pipeline run: opening and closing it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from camgate.errors import CamgateError, InputError, RegistryError
from camgate.registry import names
from camgate.registry.connection import connected

RUN_KEY = "camgate.run_key"
_KEY = re.compile(r"[\w.:/@ +=-]{1,250}", re.ASCII)


def open_run(
    *,
    experiment: str,
    key: str,
    tracking_uri: str | None = None,
    name: str | None = None,
    artifact_location: str | None = None,
) -> str:
    """The id of the run that belongs to `key`: found by its tag, or made.

    Where a run is active in this process and in the same store (the user's own, or that of a ZenML experiment
    tracker), that one is used. Safe to call from several processes at once: all get the same run.

    Args:
        experiment: made if absent.
        key: names the pipeline run; letters, digits and `_.:/@+=-` and space.
        tracking_uri: None takes MLflow's own.
        name: shown in the UI; default `key`.
        artifact_location: folder or URI for the files of a new experiment. Default for an SQLite file: the
            folder ``mlruns`` beside it (MLflow itself would take the working folder); else the server's.

    Raises:
        InputError: an empty or odd `key` or `experiment`.
        RegistryError: MLflow refuses, or cannot be reached; the experiment was deleted.
    """
    if not _KEY.fullmatch(key):
        raise InputError(f"`key` must be 1 to 250 letters, digits, spaces and _.:/@+=-; got {key!r}")
    if not experiment.strip():
        raise InputError("`experiment` must name an experiment, got an empty text")
    with connected(tracking_uri, doing=f"open a run in experiment {experiment!r}") as client:
        active = _active(client)
        if active is not None:
            client.set_tag(active, RUN_KEY, key)
            return active
        experiment_id = _experiment(client, experiment, artifact_location)
        found = _keyed(client, experiment_id, key)
        if found is not None:
            return found
        made = client.create_run(experiment_id, tags={RUN_KEY: key}, run_name=name or key).info.run_id
        first = _keyed(client, experiment_id, key)
        if first is not None and first != made:  # another process was faster
            client.delete_run(made)
            return first
        return str(made)


def run_below(parent: str, *, key: str, tracking_uri: str | None = None) -> str:
    """The id of the run under `parent` that belongs to `key`: found by its tag, or made and ended.

    Raises:
        RegistryError: MLflow refuses, or cannot be reached.
    """
    with connected(tracking_uri, doing=f"open a run below run {parent}") as client:
        above = client.get_run(parent).info
        found = _keyed(client, above.experiment_id, key)
        if found is not None:
            return found
        tags = {RUN_KEY: key, MLFLOW_PARENT_RUN_ID: parent}
        made = client.create_run(above.experiment_id, tags=tags, run_name=f"{above.run_name} {key[-8:]}")
        client.set_terminated(made.info.run_id)
        return str(made.info.run_id)


def finish_run(
    run_id: str,
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED",
    *,
    tracking_uri: str | None = None,
) -> None:
    """Mark a run as ended, unless it is active in this process: then its owner ends it."""
    if status not in {"FINISHED", "FAILED", "KILLED"}:
        raise InputError(f"`status` must be FINISHED, FAILED or KILLED, got {status!r}")
    with connected(tracking_uri, doing=f"end run {run_id}") as client:
        if _active(client) != run_id:
            client.set_terminated(run_id, status)


@contextmanager
def ending(run_id: str, *, tracking_uri: str | None = None) -> Iterator[None]:
    """End the run with the block, as failed when the block failed: no run is left open."""
    try:
        yield
    except BaseException:
        with suppress(CamgateError):  # what failed first is what must be seen
            finish_run(run_id, "FAILED", tracking_uri=tracking_uri)
        raise
    finish_run(run_id, "FINISHED", tracking_uri=tracking_uri)


def _active(client: MlflowClient) -> str | None:
    """Id of the run that is active in this process, where it lives in the client's store."""
    active: Any = mlflow.active_run()
    if active is None or mlflow.get_tracking_uri() != client.tracking_uri:
        return None
    return str(active.info.run_id)


def _keyed(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    """The first run with this key; earlier start wins, then the smaller id."""
    runs = client.search_runs(
        [experiment_id],
        f"tags.`{RUN_KEY}` = '{key}'",
        run_view_type=ViewType.ACTIVE_ONLY,
        order_by=["attributes.start_time ASC"],
    )
    first = min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)
    return None if first is None else str(first.info.run_id)


def _experiment(client: MlflowClient, name: str, artifact_location: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        location = artifact_location or _beside_database(client.tracking_uri, name)
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)  # another process was faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RegistryError(
            f"experiment {name!r} was deleted in MLflow: restore it (mlflow experiments restore "
            f"--experiment-id {found.experiment_id}), or use another name"
        )
    return str(found.experiment_id)


def _beside_database(tracking_uri: str, experiment: str) -> str | None:
    prefix = "sqlite:///"
    if not tracking_uri.startswith(prefix) or ":memory:" in tracking_uri:
        return None
    file = Path(unquote(tracking_uri.removeprefix(prefix).partition("?")[0])).absolute()
    return (file.parent / "mlruns" / names.key(experiment).replace("/", "_")).as_uri()
