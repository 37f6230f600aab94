"""From a model URI to the model's files, by the client given and by no global state."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.utils.models import _parse_model_uri

from camgate.errors import ModelError

SCHEMES = ("models:", "runs:")


@dataclass(frozen=True)
class Location:
    """Where a logged model lies.

    Attributes:
        artifact_uri: folder of its files.
        model_id: `m-...` of the LoggedModel, None for models without one.
    """

    artifact_uri: str
    model_id: str | None

    @property
    def model_uri(self) -> str | None:
        """The URI that never moves, `models:/m-...`."""
        return f"models:/{self.model_id}" if self.model_id else None


def is_model_uri(text: str) -> bool:
    """Whether `text` is an MLflow URI of a model rather than a path."""
    return text.startswith(SCHEMES)


def locate(client: MlflowClient, uri: str) -> Location:
    """Find a model's files.

    Args:
        client: of the stores to ask.
        uri: ``models:/m-<id>``, ``models:/name/version``, ``models:/name@alias`` or ``runs:/<run>/<name>``.

    Raises:
        ModelError: another kind of URI, or a run without that model.
        MlflowException: the store knows no such model, version or alias.
    """
    if uri.startswith("runs:"):
        return _of_run(client, uri)
    if not uri.startswith("models:"):
        raise ModelError(
            f"{uri!r} is no model URI: give models:/m-<id>, models:/name/version, models:/name@alias "
            "or runs:/<run id>/<name>"
        )
    parsed = _parse_model_uri(uri)
    if parsed.model_id is not None:
        return _of_logged_model(client, parsed.model_id)
    return of_version(client, version_named(client, uri))


def version_named(client: MlflowClient, uri: str) -> Any:
    """A registered version, an alias being resolved once.

    Args:
        client: of the registry.
        uri: ``models:/name/version`` or ``models:/name@alias``; ``models:/`` may be left out.

    Raises:
        ModelError: another kind of URI.
        MlflowException: the registry knows no such model, version or alias.
    """
    uri = uri if uri.startswith(SCHEMES) else f"models:/{uri}"
    if uri.startswith("models:"):
        parsed = _parse_model_uri(uri)
        if parsed.alias is not None:
            return client.get_model_version_by_alias(str(parsed.name), parsed.alias)
        if parsed.version is not None:
            return client.get_model_version(str(parsed.name), str(parsed.version))
    raise ModelError(f"{uri!r}: name a version number or an alias (stages and `latest` are not supported)")


def of_version(client: MlflowClient, version: Any) -> Location:
    """Where the files of a registered version lie, as the registry says now."""
    location = client.get_model_version_download_uri(version.name, str(version.version))
    model_id = model_id_of(version.source)
    if location.startswith("models:"):
        return locate(client, location)
    return Location(location, model_id)


def model_id_of(source: str | None) -> str | None:
    """`m-...` from a version's source ``models:/m-...``; None for any other source."""
    if not source or not source.startswith("models:/m-"):
        return None
    return source.removeprefix("models:/").strip("/")


@contextmanager
def downloaded(client: MlflowClient, location: Location) -> Iterator[Path]:
    """The model's files in a folder of their own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="camgate-model-") as scratch:
        repository: Any = get_artifact_repository(location.artifact_uri, client.tracking_uri)
        # A destination is given even where the store is local: the store's own folder may change meanwhile.
        yield Path(repository.download_artifacts("", dst_path=scratch))


def _of_logged_model(client: MlflowClient, model_id: str) -> Location:
    return Location(client.get_logged_model(model_id).artifact_location, model_id)


def _of_run(client: MlflowClient, uri: str) -> Location:
    run_id, _, name = uri.removeprefix("runs:").strip("/").partition("/")
    if not run_id or not name:
        raise ModelError(f"{uri!r}: a run's model is written runs:/<run id>/<name>")
    run = client.get_run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    # The last one logged under this name, as in MLflow.
    for output in sorted(outputs, key=lambda entry: entry.step, reverse=True):
        model = client.get_logged_model(output.model_id)
        if model.name == name:
            return Location(model.artifact_location, model.model_id)
    if any(entry.path.endswith("/MLmodel") for entry in client.list_artifacts(run_id, name)):
        return Location(f"{run.info.artifact_uri.rstrip('/')}/{name}", None)
    raise ModelError(f"{uri!r}: run {run_id} holds no model named {name!r}")
