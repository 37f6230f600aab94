"""Registering a version, writing down the verdict, and moving the alias. Nothing else moves an alias.

The order is: evidence and intent; lock; digest, policy, age and champion once more; alias, read back;
history; unlock. Whatever carries the alias therefore has its evidence, wherever the process dies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from securesystemslib.signer import Key

from camgate.errors import RegistryError
from camgate.gate.verdict import Status, Verdict
from camgate.registry import history, locks, times, versions
from camgate.registry.connection import connected
from camgate.registry.evidence import PINNED, STATUSES, VALIDATION, WAIVED, Evidence
from camgate.registry.locations import locate, version_named
from camgate.registry.signing import trusted_keys
from camgate.registry.wording import Refusal, sentence

__all__ = ["STATUSES", "Promotion", "promote_copy", "register_and_promote"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """What became of a version.

    Attributes:
        name: registered model.
        version: number of the version; 0 where a copy was refused and so not made.
        status: `validation_status` of the version: approved | rejected | inconclusive | error | waived.
        alias_moved: whether the alias points to this version because of this call.
        reason: `ok` or `waived`, the verdict's reason code, or why an acceptable verdict moved nothing:
            `digest_mismatch`, `policy_mismatch`, `evidence_too_old`, `evidence_changed`, `no_evidence`,
            `waiver_gone`, `lock_held`, `lock_lost`, `champion_changed`.
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
    attestation: str | None = None,
    keys: Iterable[str | Path] = (),
    max_age: timedelta | None = None,
    champion: int | None = None,
    lock_seconds: float = locks.DEFAULT_SECONDS,
) -> Promotion:
    """Register the audited model, tag the version with the evidence, and move the alias on PASS.

    On FAIL it moves only under a waiver on the version, see `camgate.waive`; never on ERROR or INCONCLUSIVE.

    A version that already has exactly this model is used again. Every call leaves a record of the attempt on
    the version. The evidence of a version that holds an alias is replaced only by such as could promote it:
    a refusal there is recorded, and shows in `validation_status`.

    Args:
        verdict: of the audit of this model.
        model_uri: of the logged model, best ``models:/m-<id>``.
        name: registered model; made if absent.
        run_id: run that holds the audit.
        alias: moved only when the files in the registry have the digest that was audited.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.
        attestation: DSSE envelope of the verdict as JSON; a part of the evidence.
        keys: files of the public keys that are trusted to sign waivers; by default `CAMGATE_TRUSTED_KEYS`.
        max_age: refuse a verdict that is older, by its `created`; the policy may set a shorter one.
        champion: version that the decision was made against, 0 where there was none; None takes the one at
            the start of this call. When another holds the alias by then, nothing moves.
        lock_seconds: after which another promotion may take this one for dead. Reading the model's files
            once must fit in.

    Returns:
        What was done; a refusal is a result too.

    Raises:
        InputError: a name or alias that MLflow reserves or refuses, or an attestation that is too long.
        ModelError: `model_uri` is no model URI.
        RegistryError: MLflow refuses or cannot be reached, or the alias reads back as another version.
    """
    versions.check_names(name, alias)
    trusted = _trusted(keys, verdict.waivers.allowed and verdict.status is Status.FAIL)
    evidence = Evidence.of_verdict(verdict, run_id, max_age=max_age, attestation=attestation)
    with connected(tracking_uri, registry_uri, doing=f"promote {model_uri} as {name}") as client:
        version = versions.registered(client, locate(client, model_uri), name)
        model = _settled(client, name, alias)
        # Read again, from where the registry says it lies: this is what an alias would point to.
        digest = versions.digest_of(client, version)
        evidence = _under_waiver(client, evidence, version, name, digest, trusted)
        refused = evidence.refusal(digest, pinned=model.tags.get(PINNED), now=times.now())
        _tag(client, version, _evidence_tags(client, version, evidence, digest, refused))
        before = _holder(model, alias) if champion is None else champion or None
        move = _Move(client, version, alias, evidence, lock_seconds, before, trusted)
        if refused is None:
            return move.under_lock()
        return move.refused(Refusal(refused, digest=digest, pinned=model.tags.get(PINNED)), model)


def promote_copy(
    source: str,
    *,
    name: str | None = None,
    alias: str = "champion",
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    keys: Iterable[str | Path] = (),
    max_age: timedelta | None = None,
    lock_seconds: float = locks.DEFAULT_SECONDS,
) -> Promotion:
    """Promote a version that carries its evidence: as it is, or by copy to another registered model.

    By copy means from staging to production, evidence included; what is refused is not copied. What the
    version's tags say is held against its files, against the policy that is pinned on the target, and
    against both again after the copy. Tags can be written by hand: verify the source first where that
    matters.

    Args:
        source: ``models:/name@alias`` or ``models:/name/version``, or either without ``models:/``.
        name: registered model that receives the copy, made if absent; None, or the source's own name, moves
            the alias to the source itself: after a waiver was signed, say.
        alias: to move there.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.
        keys: files of the public keys that are trusted to sign waivers; by default `CAMGATE_TRUSTED_KEYS`.
        max_age: refuse evidence that is older.
        lock_seconds: as in `register_and_promote`.

    Returns:
        What was done, `version` being that of the copy; a refusal is a result too.

    Raises:
        InputError: a name or alias that MLflow reserves or refuses.
        ModelError: `source` names no registered version.
        RegistryError: MLflow refuses or cannot be reached.
    """
    if name is not None:
        versions.check_names(name, alias)
    with connected(tracking_uri, registry_uri, doing=f"promote {source}") as client:
        origin = version_named(client, source)
        name = name or str(origin.name)
        versions.check_names(name, alias)
        versions.ensure_model(client, name)
        model = _settled(client, name, alias)
        own = int(origin.version) if name == origin.name else 0
        evidence = Evidence.of_tags(origin.tags, max_age=max_age)
        if evidence is None:
            refusal = Refusal("no_evidence", source=source)
            return _not_copied(name, own, alias, _holder(model, alias), refusal, status="error")
        digest = versions.digest_of(client, origin)
        trusted = _trusted(keys, evidence.failed is not None and evidence.failed.terms.allowed)
        evidence = _under_waiver(client, evidence, origin, name, digest, trusted)
        refused = evidence.refusal(digest, pinned=model.tags.get(PINNED), now=times.now())
        if refused is not None:
            refusal = Refusal(refused, digest=digest, pinned=model.tags.get(PINNED), evidence=evidence)
            status = evidence.validation(refused)
            return _not_copied(name, own, alias, _holder(model, alias), refusal, status=status)
        version = origin if own else versions.copied(client, origin, name)
        _tag(client, version, _changed(version.tags, evidence.tags(digest, None)))
        before = _holder(model, alias)
        return _Move(client, version, alias, evidence, lock_seconds, before, trusted).under_lock()


def _trusted(keys: Iterable[str | Path], needed: bool) -> list[Key]:
    """Keys are read only where a waiver may count, so that a PASS needs none."""
    return trusted_keys(keys) if needed else []


def _under_waiver(
    client: MlflowClient, evidence: Evidence, version: Any, name: str, digest: str, keys: list[Key]
) -> Evidence:
    """The evidence with the waiver that the version carries for it, if it does."""
    tags = client.get_model_version(version.name, str(version.version)).tags if keys else {}
    return evidence.under(tags, keys, name=name, digest=digest, now=times.now())


@dataclass(frozen=True)
class _Move:
    """A version on its way to an alias; `before` held it when that was decided."""

    client: MlflowClient
    version: Any
    alias: str
    evidence: Evidence
    lock_seconds: float
    before: int | None
    keys: list[Key]

    @property
    def name(self) -> str:
        return str(self.version.name)

    @property
    def number(self) -> int:
        return int(self.version.version)

    def under_lock(self) -> Promotion:
        """Intent, lock, all conditions once more, alias, history, unlock."""
        intent = history.intend(
            self.client,
            self.version,
            self.alias,
            previous=self.before,
            run=self.evidence.run_id,
            now=times.now(),
        )
        try:
            lock = locks.acquire(
                self.client, self.name, self.alias, owner=intent.owner, seconds=self.lock_seconds
            )
        except locks.LockHeldError as held:
            history.close(self.client, self.name, intent, "abandoned")
            return self.refused(Refusal("lock_held", until=held.lock.expires))
        ours = True
        try:
            model = self.client.get_registered_model(self.name)
            history.settle(self.client, model, self.alias, but=intent)
            refusal = self._once_more(model, lock)
            if refusal is not None:
                history.close(self.client, self.name, intent, "abandoned")
                return self.refused(refusal, model)
            if history.changed(model, intent):  # somebody took us for dead before we had the lock
                history.close(self.client, self.name, intent, "intent")
            ours = False  # until it is known what became of the alias, nobody else may move it
            self._set_alias()
            ours = True
            self._read_back()
            self._complete(intent)
        except MlflowException as error:
            ours = ours or _clear_no(error)
            raise
        finally:
            if ours:
                locks.release(self.client, lock)
        return self._promotion(self.before, moved=True)

    def refused(self, refusal: Refusal, model: Any | None = None) -> Promotion:
        """The result when the alias stays; `model` is the registered model where it was just read."""
        model = model or self.client.get_registered_model(self.name)
        return self._promotion(_holder(model, self.alias), refusal=refusal)

    def _once_more(self, model: Any, lock: locks.Lock) -> Refusal | None:
        """Everything that was true before the lock, from the registry as it is now."""
        holder = _holder(model, self.alias)
        if holder != self.before:
            return Refusal("champion_changed", before=self.before)
        tags = self.client.get_model_version(self.name, str(self.number)).tags
        digest = versions.digest_of(self.client, self.version)
        pinned = model.tags.get(PINNED)
        evidence = self.evidence.under(tags, self.keys, name=self.name, digest=digest, now=times.now())
        if self.evidence.waived and evidence.waiver != self.evidence.waiver:
            return Refusal("waiver_gone")
        code = evidence.refusal(digest, pinned=pinned, now=times.now())
        if code is not None:
            return Refusal(code, digest=digest, pinned=pinned)
        expected = self.evidence.tags(digest, None)
        changed = _changed(tags, expected)
        if changed:
            return Refusal("evidence_changed", changed=tuple(changed))
        if not locks.holds(self.client, self.name, self.alias, lock, self.lock_seconds):
            return Refusal("lock_lost")
        return None

    def _set_alias(self) -> None:
        try:
            self.client.set_registered_model_alias(self.name, self.alias, str(self.number))
        except MlflowException:
            # The answer was lost or was no; the request itself may have arrived.
            if _holder(self.client.get_registered_model(self.name), self.alias) != self.number:
                raise

    def _read_back(self) -> None:
        held = _holder(self.client.get_registered_model(self.name), self.alias)
        if held != self.number:
            raise RegistryError(
                f"alias {self.alias} of {self.name} was set to version {self.number} but reads back as "
                f"{held}: someone else moves it too; look at who writes aliases besides camgate"
            )

    def _complete(self, intent: history.Decision) -> None:
        try:
            history.close(self.client, self.name, intent, "done")
        except MlflowException as error:  # the alias has moved, and that is what the caller must hear
            _log.warning("the history of %s is completed by its next run: %s", self.name, error.error_code)

    def _promotion(
        self, previous: int | None, *, moved: bool = False, refusal: Refusal | None = None
    ) -> Promotion:
        waived = self.evidence.waived
        return Promotion(
            name=self.name,
            version=self.number,
            status=self.evidence.validation(None if refusal is None else refusal.code),
            alias_moved=moved,
            reason=refusal.code if refusal is not None else "waived" if waived else self.evidence.reason,
            alias=self.alias,
            previous=previous,
            sentence=sentence(
                self.name, self.number, self.alias, previous, evidence=self.evidence, refusal=refusal
            ),
        )


def _clear_no(error: Any) -> bool:
    """Whether MLflow itself refused, so that the request cannot take effect later."""
    return bool(400 <= error.get_http_status_code() < 500)


def _settled(client: MlflowClient, name: str, alias: str) -> Any:
    """The registered model, after what a crash left open in its history was closed."""
    model = client.get_registered_model(name)
    history.settle(client, model, alias)
    return model


def _evidence_tags(
    client: MlflowClient, version: Any, evidence: Evidence, digest: str, refused: str | None
) -> dict[str, str]:
    """What the version does not carry yet."""
    now = client.get_model_version(version.name, str(version.version))
    tags = evidence.attempt(now.tags, refused, now=times.now())
    kept = now.aliases and (now.tags.get("camgate.verdict") == "PASS" or now.tags.get(VALIDATION) == "waived")
    if refused is None or not kept:
        tags |= ({WAIVED: ""} if WAIVED in now.tags else {}) | evidence.tags(digest, refused)
    elif refused != "policy_mismatch":  # what it holds the alias by stays; another exam says nothing of it
        tags |= {VALIDATION: evidence.validation(refused)}
    return _changed(now.tags, tags)


def _changed(held: Mapping[str, str], tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if held.get(key) != value}


def _not_copied(
    name: str, version: int, alias: str, previous: int | None, refusal: Refusal, *, status: str
) -> Promotion:
    said = sentence(name, version, alias, previous, evidence=refusal.evidence, refusal=refusal)
    return Promotion(name, version, status, False, refusal.code, alias, previous, said)


def _tag(client: MlflowClient, version: Any, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.version), key, value)


def _holder(model: Any, alias: str) -> int | None:
    held = model.aliases.get(alias)
    return None if held is None else int(held)
