"""Registering a version, writing down the verdict, and moving the alias. Nothing else moves an alias."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from camgate.errors import InputError, RegistryError
from camgate.gate.verdict import Status, Verdict
from camgate.registry import names
from camgate.registry.connection import connected, process_tracking_uri
from camgate.registry.digest import folder_digest
from camgate.registry.locations import Location, downloaded, locate, of_version

STATUSES = {
    Status.PASS: "approved",
    Status.FAIL: "rejected",
    Status.INCONCLUSIVE: "inconclusive",
    Status.ERROR: "error",
}
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")


@dataclass(frozen=True)
class Promotion:
    """What became of a version.

    Attributes:
        name: registered model.
        version: number of the version.
        status: `validation_status` of the version: approved | rejected | inconclusive | error.
        alias_moved: whether the alias points to this version because of this call.
        reason: `ok`, the verdict's reason code, or `digest_mismatch`.
        alias: the alias in question.
        previous: version the alias pointed to before, None where there was none.
        sentence: what happened, in plain words.
    """

    name: str
    version: int
    status: str
    alias_moved: bool
    reason: str
    alias: str = "champion"
    previous: int | None = None
    sentence: str = ""


def register_and_promote(
    verdict: Verdict,
    *,
    model_uri: str,
    name: str,
    run_id: str,
    alias: str = "champion",
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Promotion:
    """Register the audited model, tag the version with the evidence, and move the alias on PASS.

    A version that already has exactly this model is used again. Tags come first and the alias last, so that
    what carries the alias has its evidence.

    Args:
        verdict: of the audit of this model.
        model_uri: of the logged model, best ``models:/m-<id>``.
        name: registered model; made if absent.
        run_id: run that holds the audit.
        alias: moved only on PASS, and only when the files in the registry have the digest that was audited.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Returns:
        What was done; a refusal is a result too.

    Raises:
        InputError: a name or alias that MLflow reserves or refuses.
        ModelError: `model_uri` is no model URI.
        RegistryError: MLflow refuses or cannot be reached, or the alias reads back as another version.
    """
    _check_names(name, alias)
    with connected(tracking_uri, registry_uri, doing=f"promote {model_uri} as {name}") as client:
        version = _registered(client, locate(client, model_uri), model_uri=model_uri, name=name)
        # Read again, from where the registry says it lies: this is what an alias would point to.
        with downloaded(client, of_version(client, version)) as folder:
            digest = folder_digest(folder)
        matches = digest == verdict.model_digest
        status = STATUSES[verdict.status] if matches else "error"
        reason = verdict.reason if matches else "digest_mismatch"
        _tag(
            client,
            version,
            {
                "camgate.verdict": str(verdict.status),
                "camgate.reason": reason,
                "camgate.audit_run_id": run_id,
                "camgate.model_digest": digest,
                "camgate.audited_digest": verdict.model_digest,
                "camgate.policy_digest": verdict.policy_digest,
                "camgate.data_digest": verdict.data_digest,
                "validation_status": status,
            },
        )
        previous = _holder(client, name, alias)
        moved = verdict.status is Status.PASS and matches
        if moved:
            _move(client, name, alias, version)
    return Promotion(
        name=name,
        version=int(version.version),
        status=status,
        alias_moved=moved,
        reason=reason,
        alias=alias,
        previous=previous,
        sentence=_sentence(name, version, alias, previous, verdict=verdict, digest=digest, moved=moved),
    )


def _check_names(name: str, alias: str) -> None:
    if not name.strip() or re.search(r"[/:]", name) or ("'" in name and '"' in name):
        raise InputError(f"a registered model cannot be called {name!r}: no slash, no colon, not empty")
    if not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise InputError(
            f"{alias!r} cannot be an alias: letters, digits, - and _ only, and neither `latest` nor "
            "`v1`-like, which MLflow reserves"
        )


def _registered(client: MlflowClient, location: Location, *, model_uri: str, name: str) -> Any:
    """The version of `name` that holds this model, made where there is none."""
    source = location.model_uri or location.artifact_uri
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            raise
    quote = '"' if "'" in name else "'"
    token = None
    while True:
        page = client.search_model_versions(f"name={quote}{name}{quote}", page_token=token)
        for version in page:
            if version.source == source:
                return version
        token = page.token
        if not token:
            break
    with process_tracking_uri(client.tracking_uri):
        return client.create_model_version(
            name, source, tags={"validation_status": "pending"}, model_id=location.model_id
        )


def _tag(client: MlflowClient, version: Any, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(
            version.name, str(version.version), key, names.shortened(value, names.LONGEST_VERSION_TAG)
        )


def _holder(client: MlflowClient, name: str, alias: str) -> int | None:
    held = client.get_registered_model(name).aliases.get(alias)
    return None if held is None else int(held)


def _move(client: MlflowClient, name: str, alias: str, version: Any) -> None:
    client.set_registered_model_alias(name, alias, str(version.version))
    held = _holder(client, name, alias)
    if held != int(version.version):
        raise RegistryError(
            f"alias {alias} of {name} was set to version {version.version} but reads back as {held}: someone "
            "else moves it too; look at who writes aliases besides camgate"
        )


def _sentence(
    name: str, version: Any, alias: str, previous: int | None, *, verdict: Verdict, digest: str, moved: bool
) -> str:
    number = int(version.version)
    if moved:
        before = "" if previous in {None, number} else f" (before: version {previous})"
        return f"Version {number} of {name} is {alias}{before}."
    keeps = f"{alias} stays at version {previous}" if previous else f"there is no {alias}"
    if digest != verdict.model_digest:
        return (
            f"Version {number} of {name} is not what was audited (digest {digest[:12]}, audited "
            f"{verdict.model_digest[:12]}): {keeps}. Audit the logged model, "
            "load_classifier(model_uri), not the one in memory."
        )
    return f"Version {number} of {name} was not promoted ({verdict.status}: {verdict.reason}): {keeps}."
