"""Registered models and their versions: found, or made where there are none."""

from __future__ import annotations

import re
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from camgate.errors import InputError
from camgate.registry.connection import process_tracking_uri
from camgate.registry.digest import folder_digest
from camgate.registry.locations import Location, downloaded, of_version
from camgate.registry.locks import PREFIX

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LONGEST = 200  # name and alias together are the name of a lock, and MLflow takes 256 characters


def check_names(name: str, alias: str = "champion") -> None:
    """Refuse what MLflow refuses or reserves.

    Raises:
        InputError: naming what is wrong.
    """
    if not name.strip() or re.search(r"[/:]", name) or ("'" in name and '"' in name):
        raise InputError(f"a registered model cannot be called {name!r}: no slash, no colon, not empty")
    if name.startswith(PREFIX):
        raise InputError(f"a registered model cannot be called {name!r}: names of locks start with {PREFIX}")
    if not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise InputError(
            f"{alias!r} cannot be an alias: letters, digits, - and _ only, and neither `latest` nor "
            "`v1`-like, which MLflow reserves"
        )
    if len(name) + len(alias) > _LONGEST:
        raise InputError(
            f"name and alias have {len(name) + len(alias)} characters together, at most {_LONGEST} can be"
        )


def ensure_model(client: MlflowClient, name: str) -> None:
    """Make a registered model where there is none."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            raise


def from_source(client: MlflowClient, name: str, source: str) -> Any | None:
    """The version of `name` that was made from `source`, None where there is none."""
    quote = '"' if "'" in name else "'"
    token = None
    while True:
        page = client.search_model_versions(f"name={quote}{name}{quote}", page_token=token)
        for version in page:
            if version.source == source:
                return version
        token = page.token
        if not token:
            return None


def registered(client: MlflowClient, location: Location, name: str) -> Any:
    """The version of `name` that holds a logged model, made where there is none."""
    source = location.model_uri or location.artifact_uri
    ensure_model(client, name)
    version = from_source(client, name, source)
    if version is not None:
        return version
    with process_tracking_uri(client.tracking_uri):
        return client.create_model_version(
            name, source, tags={"validation_status": "pending"}, model_id=location.model_id
        )


def copied(client: MlflowClient, origin: Any, name: str) -> Any:
    """The copy of a version in another registered model, made where there is none, with its tags.

    The tags of a copy from before are brought up to those of the original.
    """
    ensure_model(client, name)
    uri = f"models:/{origin.name}/{origin.version}"
    version = from_source(client, name, uri)
    if version is None:
        with process_tracking_uri(client.tracking_uri):
            return client.copy_model_version(uri, name)
    for key, value in origin.tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(name, str(version.version), key, value)
    return version


def digest_of(client: MlflowClient, version: Any) -> str:
    """Digest of a version's files, read from where the registry says they lie."""
    with downloaded(client, of_version(client, version)) as folder:
        return folder_digest(folder)
