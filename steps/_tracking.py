"""Which MLflow run a step writes to: one for each pipeline run, with and without a tracker in the stack."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from zenml.client import Client
from zenml.steps.step_context import StepContext, get_step_context

from camgate.registry.runs import ending, open_run

DEFAULT_EXPERIMENT = "camgate"
# Fields of ZenML's MLflow tracker -> what MLflow's client reads.
_CREDENTIALS = {
    "tracking_username": "MLFLOW_TRACKING_USERNAME",
    "tracking_password": "MLFLOW_TRACKING_PASSWORD",
    "tracking_token": "MLFLOW_TRACKING_TOKEN",
}


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run.

    Attributes:
        run_id: of the run.
        uri: tracking URI; None is MLflow's own default or environment.
    """

    run_id: str
    uri: str | None


@contextmanager
def tracking_server() -> Iterator[str | None]:
    """The URI of the stack's tracking server, its credentials in the environment; opens no run.

    For steps that only read. None is MLflow's own default or environment.
    """
    uri, credentials = stack_tracker()
    with _environment(credentials):
        yield uri


@contextmanager
def tracked(experiment: str | None = None) -> Iterator[TrackedRun]:
    """The MLflow run of this pipeline run, made by whichever step comes first.

    The tracking server is that of the active stack's experiment tracker, else MLflow's own default or
    environment. A run that ZenML itself opened for the step (`experiment_tracker` set on it) is used.
    Otherwise the run is closed when the step ends, as failed when the step failed, so that no run is left
    open whichever steps a pipeline has.

    Args:
        experiment: name of the MLflow experiment; by default that of the pipeline.
    """
    context = _step_context()
    pipeline = context.pipeline.name if context else DEFAULT_EXPERIMENT
    key = str(context.pipeline_run.id) if context else uuid4().hex
    name = context.pipeline_run.name if context else None
    with tracking_server() as uri:
        run_id = open_run(experiment=experiment or pipeline, key=key, tracking_uri=uri, name=name)
        with ending(run_id, tracking_uri=uri):
            yield TrackedRun(run_id, uri)


def stack_tracker() -> tuple[str | None, dict[str, str]]:
    """Tracking URI and credentials of the active stack's experiment tracker; (None, {}) without one."""
    tracker = Client().active_stack.experiment_tracker
    locate = getattr(tracker, "get_tracking_uri", None)
    if locate is None:
        return None, {}
    config = getattr(tracker, "config", None)
    values = {name: getattr(config, field, None) for field, name in _CREDENTIALS.items()}
    environment = {name: str(value) for name, value in values.items() if value}
    if getattr(config, "tracking_insecure_tls", False):
        environment["MLFLOW_TRACKING_INSECURE_TLS"] = "true"
    return str(locate()), environment


def in_pipeline() -> bool:
    """Whether the step runs in a pipeline, not as a plain function call."""
    return _step_context() is not None


def _step_context() -> StepContext | None:
    """None where a step's function is called outside of a pipeline."""
    try:
        return get_step_context()
    except RuntimeError:
        return None


@dataclass
class _Override:
    """What a variable was before the first user came, and how many use it now."""

    before: str | None
    users: int = 0


_overrides: dict[str, _Override] = {}
_lock = threading.Lock()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set while the block runs. Steps may run in threads of one process: the last one to leave tidies up."""
    with _lock:
        for name, value in variables.items():
            _overrides.setdefault(name, _Override(os.environ.get(name))).users += 1
            os.environ[name] = value
    try:
        yield
    finally:
        with _lock:
            for name in variables:
                _overrides[name].users -= 1
                if _overrides[name].users:
                    continue
                before = _overrides.pop(name).before
                if before is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = before
