"""Reaching MLflow: explicit URIs, quick failure, one readable error without credentials."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _use_tracking_uri
from sqlalchemy.exc import SQLAlchemyError

from camgate.errors import CamgateError, RegistryError

# MLflow retries 7 times with growing pauses, about four minutes. Whoever set these keeps their values.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # MLflow prints links to standard output, where the command line may be writing JSON.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# Only for the first, cheap request: a large upload may well take longer than this to be answered.
_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}

_DENIED = re.compile(r"\b(?:error code|status) (?:401|403)\b|\b(?:401|403) Client Error\b")

_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]*@")
_SECRETS = re.compile(r"((?:password|passwd|pwd|token|secret|access_key|sig|signature)=)[^&;\s'\"]+", re.I)


@contextmanager
def connected(
    tracking_uri: str | None = None, registry_uri: str | None = None, *, doing: str
) -> Iterator[MlflowClient]:
    """A client of the stores; any failure of MLflow inside becomes a RegistryError.

    Args:
        tracking_uri: where runs and logged models are; None takes MLflow's own (`MLFLOW_TRACKING_URI`).
        registry_uri: where registered models are; None takes MLflow's own, which follows the tracking URI.
        doing: what fails if it fails, in the infinitive ("log the audit").

    Raises:
        RegistryError: MLflow refused, failed or cannot be reached, in one paragraph that names the URI.
    """
    uri = tracking_uri or "its default store"
    with defaults(_PATIENCE), _quiet():
        try:
            uri = tracking_uri or mlflow.get_tracking_uri()
            client = MlflowClient(uri, registry_uri)
            if uri.startswith(("http:", "https:")):
                with defaults(_FIRST_CONTACT):
                    client.search_experiments(max_results=1)
            yield client
        except CamgateError:
            raise
        except (MlflowException, requests.RequestException, SQLAlchemyError, OSError) as error:
            raise RegistryError(_explain(error, uri=uri, doing=doing)) from error


def without_credentials(text: str) -> str:
    """`text` with user:password@ of every URL, and passwords among its options, replaced by ***."""
    return _SECRETS.sub(r"\1***", _CREDENTIALS.sub("***@", text))


@contextmanager
def process_tracking_uri(uri: str) -> Iterator[None]:
    """Make `uri` the process-wide one for a moment.

    The SQL registry of MLflow 3.17 looks a logged model up by the process-wide URI, whatever the client was
    given. MLflow's own context forgets a MLFLOW_TRACKING_URI that was set from outside, so it is put back.
    """
    if mlflow.get_tracking_uri() == uri:
        yield
        return
    before = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        with _use_tracking_uri(uri):
            yield
    finally:
        if before is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before


def prepare_local_store(folder: str | Path, experiment: str) -> str:
    """Make a database store with all its files inside one folder.

    Args:
        folder: receives ``mlflow.db`` and ``mlruns/``; made if absent.
        experiment: made there if absent.

    Returns:
        The tracking URI.

    Raises:
        RegistryError: the folder or the database cannot be written.
    """
    root = Path(folder).resolve()
    uri = f"sqlite:///{root / 'mlflow.db'}"
    with connected(uri, doing="make a local store") as client:
        if client.get_experiment_by_name(experiment) is None:
            client.create_experiment(experiment, artifact_location=(root / "mlruns").as_uri())
    return uri


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes on every table of a new database."""
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_LOCK = threading.RLock()
_SAVED: dict[str, list[str | None]] = {}


@contextmanager
def without_retries() -> Iterator[None]:
    """Each request is sent once, whatever the user has set."""
    with defaults({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}, force=True):
        yield


@contextmanager
def defaults(values: dict[str, str], *, force: bool = False) -> Iterator[None]:
    """Environment variables while inside, except those that the user has set, unless `force`.

    MLflow reads its settings there at each request and offers no other way. Contexts nest, also across
    threads: the value from before the first is back after the last.
    """
    mine = []
    with _LOCK:
        for name, value in values.items():
            if name in os.environ and name not in _SAVED and not force:
                continue
            _SAVED.setdefault(name, []).append(os.environ.get(name))
            os.environ[name] = value
            mine.append(name)
    try:
        yield
    finally:
        with _LOCK:
            for name in mine:
                old = _SAVED[name].pop()
                if not _SAVED[name]:
                    del _SAVED[name]
                if old is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = old


def _explain(error: Exception, *, uri: str, doing: str) -> str:
    where = without_credentials(uri)
    text = " ".join(without_credentials(str(error)).split())
    if len(text) > 400:
        text = text[:400] + " ..."
    if getattr(error, "error_code", None) == "PERMISSION_DENIED" or _DENIED.search(text):
        return (
            f"MLflow at {where} does not let this user {doing}. Ask for the right to edit there, or check "
            f"the credentials. MLflow says: {text}"
        )
    if isinstance(error, requests.RequestException) or "API request to" in text:
        return (
            f"MLflow at {where} cannot be reached or fails, so camgate could not {doing}. Check that the "
            f"server runs, the URI (MLFLOW_TRACKING_URI) and the credentials. MLflow says: {text}"
        )
    return f"MLflow at {where} refused, so camgate could not {doing}. MLflow says: {text}"
