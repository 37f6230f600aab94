"""One promotion at a time: a lock is a registered model whose name only one can create.

MLflow has no conditional write. What it has is a name that must be unique, at creation and at renaming; all
here rests on these two.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from camgate.errors import RegistryError
from camgate.registry import times
from camgate.registry.connection import without_retries

PREFIX = "camgate-lock--"
"""Registered models with such names are locks, not models: whatever lists models leaves them out."""
DEFAULT_SECONDS = 900.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lock:
    """Of one alias.

    Attributes:
        name: of the registered model that is the lock.
        owner: random text, known to its maker alone.
        expires: from then on anyone may break it.
        broken: name of the stale lock that was put aside for this one.
    """

    name: str
    owner: str
    expires: datetime
    broken: str | None = None

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return now >= self.expires


class LockHeldError(RegistryError):
    """Another promotion is at work.

    Attributes:
        lock: that stands in the way.
    """

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        super().__init__(f"another promotion holds the lock {lock.name} until {times.text(lock.expires)}")

    def __reduce__(self) -> tuple[type[LockHeldError], tuple[Lock]]:
        return type(self), (self.lock,)


def new_owner() -> str:
    """A name that nobody else has: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def lock_name(model: str, alias: str) -> str:
    """Name of the lock of an alias."""
    return f"{PREFIX}{model}--{alias}"


def current(client: MlflowClient, model: str, alias: str) -> Lock | None:
    """The lock as it stands in the registry, None where there is none.

    A lock without readable expiry lasts as long as one usually does from its creation.
    """
    try:
        entry = client.get_registered_model(lock_name(model, alias))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    made = datetime.fromtimestamp((entry.creation_timestamp or 0) / 1000, UTC)
    expires = times.parse(entry.tags.get("expires")) or made + timedelta(seconds=DEFAULT_SECONDS)
    return Lock(entry.name, entry.tags.get("owner", ""), expires)


def acquire(client: MlflowClient, model: str, alias: str, *, owner: str, seconds: float) -> Lock:
    """Take the lock of an alias; a stale one is broken, with the record `camgate.broken_lock.<time>`.

    Args:
        client: of the registry.
        model: registered model.
        alias: in question.
        owner: from `new_owner`.
        seconds: until it may be broken; all that is done under it must fit in.

    Raises:
        LockHeldError: another holds it.
        MlflowException: MLflow refuses or fails.
    """
    broken = None
    for _ in range(5):
        lock = Lock(lock_name(model, alias), owner, times.now() + timedelta(seconds=seconds), broken)
        try:
            if _created(client, lock):
                return lock
            there = current(client, model, alias)
        except MlflowException:
            release(client, lock)  # the request may have arrived all the same
            raise
        if there is None:
            continue
        if there.owner == owner:  # an answer was lost, and MLflow's client asked again
            return Lock(there.name, owner, there.expires, broken)
        if not there.expired(times.now()):
            raise LockHeldError(there)
        broken = _put_aside(client, model, there) or broken
    raise LockHeldError(lock)


def holds(client: MlflowClient, model: str, alias: str, lock: Lock, seconds: float) -> bool:
    """Whether the lock is still this one, and will be for as long as one write may take."""
    there = current(client, model, alias)
    return (
        there is not None
        and there.owner == lock.owner
        and not lock.expired(times.now() + timedelta(seconds=seconds / 10))
    )


def release(client: MlflowClient, lock: Lock) -> None:
    """Remove the lock where it still is this one. A failure is logged: the lock then ends by itself."""

    def remove_own() -> None:
        entry = client.get_registered_model(lock.name)
        # An expired lock is left to be broken: somebody may be about to, and then it is no longer ours.
        if entry.tags.get("owner") == lock.owner and not lock.expired(times.now()):
            client.delete_registered_model(lock.name)

    _insist(remove_own, lock.name)
    if lock.broken is not None:
        broken = lock.broken
        _insist(lambda: client.delete_registered_model(broken), broken)


def _created(client: MlflowClient, lock: Lock) -> bool:
    tags = {"owner": lock.owner, "expires": times.text(lock.expires)}
    try:
        client.create_registered_model(lock.name, tags=tags)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            raise
        return False
    return True


def _put_aside(client: MlflowClient, model: str, stale: Lock) -> str | None:
    """Break a stale lock, so that of all who try one does and nobody breaks the lock that comes next.

    It gets a name made of its owner. Whoever is late finds that name taken, or no lock.
    """
    aside = f"{stale.name}--{stale.owner[:8] or 'nobody'}"
    try:
        client.rename_registered_model(stale.name, aside)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"}:
            return None
        raise
    now = times.now()
    record = f"owner {stale.owner}, expired {times.text(stale.expires)}"
    client.set_registered_model_tag(model, f"camgate.broken_lock.{times.stamp(now)}", record)
    return aside


def _insist(remove: Callable[[], Any], name: str) -> None:
    """Try three times, never by MLflow's own repetition: that might remove the lock which comes next."""
    for attempt in range(3):
        try:
            with without_retries():
                remove()
            return
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return
            if attempt == 2:
                _log.warning(
                    "the lock %s could not be removed, it ends by itself: %s", name, error.error_code
                )
