"""Whose turn it is to retrain, and whether these data were decided on already.

A retraining has a key, the digest of all that its decision depends on. The version that came of it carries
the key, so that the same key gives the same decision and no second version. A lock lets one retraining of an
alias be at work at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from camgate.gate.verdict import Status, Verdict
from camgate.registry import history, locks, times, versions
from camgate.registry.champion import RIVAL
from camgate.registry.connection import connected
from camgate.registry.evidence import VALIDATION
from camgate.registry.promotion import Promotion, promote_copy

KEY = "camgate.retraining"
"""Tag of a run and of a version: which retraining it belongs to."""
SENTENCE = "camgate.retraining_sentence"
"""Tag of a version: what was decided, in plain words."""
LEASE = 24 * 3600.0
"""Seconds after which another retraining may take one for dead."""


@dataclass(frozen=True)
class Decided:
    """What an earlier retraining with the same key came to.

    Attributes:
        version: of the registered model.
        verdict: PASS | FAIL | INCONCLUSIVE.
        reason: its code.
        validation_status: of the version, as it is now.
        promoted: whether it holds the alias, or did once.
        run_id: run that holds the audit.
        sentence: in plain words.
    """

    version: int
    verdict: str
    reason: str
    validation_status: str
    promoted: bool
    run_id: str
    sentence: str


@dataclass(frozen=True)
class Turn:
    """Whether a retraining may begin.

    Attributes:
        status: `mine`: go on, and call `end_turn`; `decided`: these data were decided on; `busy`: another
            retraining of this alias is at work.
        owner: of the lock, where it is mine.
        decided: where it was decided.
        until: when the other one's lock ends at the latest.
    """

    status: Literal["mine", "decided", "busy"]
    owner: str = ""
    decided: Decided | None = None
    until: datetime | None = None


def retraining_key(**what: Any) -> str:
    """SHA-256, 64 hex digits, of all that a decision depends on.

    Args:
        what: digests, options and versions, fit for JSON; their order does not matter.
    """
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def take_turn(
    name: str,
    alias: str,
    key: str,
    *,
    run_id: str,
    seconds: float = LEASE,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Turn:
    """Take the lock of an alias' retraining, unless it was decided already or somebody has it.

    Args:
        name: registered model; made if absent.
        alias: that the retraining may move.
        key: of `retraining_key`.
        run_id: the retraining's run; gets the tag `camgate.retraining`.
        seconds: after which another may take this one for dead.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Raises:
        InputError: a name or alias that MLflow refuses.
        RegistryError: MLflow refuses or cannot be reached.
    """
    versions.check_names(name, alias)
    owner = locks.new_owner()
    with connected(tracking_uri, registry_uri, doing=f"begin a retraining of {name}") as client:
        versions.ensure_model(client, name)
        try:
            lock = locks.acquire(client, name, _turn(alias), owner=owner, seconds=seconds)
        except locks.LockHeldError as held:
            return Turn("busy", until=held.lock.expires)
        version = None
        try:  # under the lock: nobody decides between this look and the training
            version = _version(client, name, key, client.get_run(run_id).info.experiment_id)
            decided = None if version is None else _decided(client, version, alias)
            if version is None or (decided is None and _outdated(client, version, alias)):
                client.set_tag(run_id, KEY, key)
                return Turn("mine", owner)
        except BaseException:
            locks.release(client, lock)
            raise
        if decided is None:  # it passed, and whoever was to promote it did not come to it
            promoted = promote_copy(
                f"models:/{name}/{version.version}",
                alias=alias,
                tracking_uri=tracking_uri,
                registry_uri=registry_uri,
            )
            version = client.get_model_version(name, str(version.version))
            decided = _as_decided(version, promoted.alias_moved, promoted.sentence)
        locks.release(client, lock)
        return Turn("decided", decided=decided)


def end_turn(
    name: str, alias: str, owner: str, *, tracking_uri: str | None = None, registry_uri: str | None = None
) -> None:
    """Give the lock back, where it still is the owner's."""
    with connected(tracking_uri, registry_uri, doing=f"end a retraining of {name}") as client:
        lock = locks.current(client, name, _turn(alias))
        if lock is not None and lock.owner == owner:
            locks.release(client, lock)


def record_decision(
    key: str,
    verdict: Verdict,
    promotion: Promotion,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> bool:
    """Write the key onto the version, where the decision stands for good.

    An ERROR decides nothing, and neither does a comparison with a champion that is none any more: the next
    run tries again.

    Returns:
        Whether it was written.
    """
    if verdict.status is Status.ERROR or promotion.reason == "champion_changed":
        return False
    with connected(tracking_uri, registry_uri, doing=f"record the decision on {promotion.name}") as client:
        for tag, value in ((SENTENCE, verdict.sentence[:4000]), (KEY, key)):
            client.set_model_version_tag(promotion.name, str(promotion.version), tag, value)
    return True


def champion_run(
    name: str, alias: str, *, tracking_uri: str | None = None, registry_uri: str | None = None
) -> tuple[int, str] | None:
    """Version of the champion and the run that holds its audit; None where there is no such."""
    with connected(tracking_uri, registry_uri, doing=f"look for {name}@{alias}") as client:
        try:
            version = client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise
        run_id = version.tags.get("camgate.audit_run_id")
        return (int(version.version), run_id) if run_id else None


def _turn(alias: str) -> str:
    return f"{alias}.retraining"  # no alias has a full stop, so no promotion has this lock


def _version(client: MlflowClient, name: str, key: str, experiment_id: str) -> Any | None:
    """The version that a retraining with this key made, also where it died before it wrote the key."""
    tagged = _newest(client, name, {KEY: key})
    if tagged is not None:
        return tagged
    runs = client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", run_view_type=ViewType.ACTIVE_ONLY)
    for run in runs:
        found = _newest(client, name, {"camgate.audit_run_id": run.info.run_id})
        if found is not None and found.tags.get("camgate.verdict") not in {None, str(Status.ERROR)}:
            return found
    return None


def _newest(client: MlflowClient, name: str, tags: Mapping[str, str]) -> Any | None:
    quote = '"' if "'" in name else "'"
    wanted = "".join(f" and tags.`{tag}` = '{value}'" for tag, value in tags.items())
    found = client.search_model_versions(f"name={quote}{name}{quote}{wanted}")
    return max(found, key=lambda version: int(version.version), default=None)


def _decided(client: MlflowClient, version: Any, alias: str) -> Decided | None:
    """The decision; None for a PASS that never came to hold the alias: that is not settled yet."""
    model = client.get_registered_model(version.name)
    holds = int(model.aliases.get(alias, 0)) == int(version.version)
    once = holds or any(
        each.version == int(version.version) and each.state == "done"
        for each in history.decisions(model, alias)
    )
    if version.tags.get("camgate.verdict") == Status.PASS and not once:
        return None
    return _as_decided(version, once, version.tags.get(SENTENCE, ""))


def _outdated(client: MlflowClient, version: Any, alias: str) -> bool:
    """Whether the version was compared with a champion that is none any more."""
    rival = client.get_run(version.tags["camgate.audit_run_id"]).data.tags.get(RIVAL)
    holder = client.get_registered_model(version.name).aliases.get(alias)
    return rival is not None and rival != f"{version.name}/{holder}"


def _as_decided(version: Any, promoted: bool, sentence: str) -> Decided:
    tags = version.tags
    return Decided(
        version=int(version.version),
        verdict=tags.get("camgate.verdict", ""),
        reason=tags.get("camgate.reason", ""),
        validation_status=tags.get(VALIDATION, ""),
        promoted=promoted,
        run_id=tags.get("camgate.audit_run_id", ""),
        sentence=sentence,
    )


def busy_sentence(name: str, until: datetime | None) -> str:
    """What to say where another retraining is at work."""
    end = "" if until is None else f"; its lock ends by {times.minute(until)} at the latest"
    return f"Another retraining of {name} is at work{end}. Nothing was done."
