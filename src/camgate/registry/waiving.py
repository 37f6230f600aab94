"""Writing a waiver onto a version, after everything that would make it worthless was ruled out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mlflow import MlflowClient

from camgate.errors import InputError
from camgate.registry import times, versions
from camgate.registry.attestation import Claim
from camgate.registry.connection import connected
from camgate.registry.evidence import ATTESTATION
from camgate.registry.locations import version_named
from camgate.registry.signing import SIGNING_KEY, signing_key, unseal
from camgate.registry.waivers import Waiver, tag_of

_LONGEST = 2000


def waive(
    uri: str,
    *,
    person: str,
    reason: str,
    checks: Iterable[str],
    until: date | datetime,
    key: str | Path | None = None,
    also_for: Iterable[str] = (),
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Waiver:
    """Sign that a version may hold an alias although it fails these checks, until a day.

    The waiver lies on the version (a tag) and in the run of the audit (``gate/waivers/``). It moves no alias:
    the next promotion of the same files finds it, `promote_copy` for one.

    Args:
        uri: `models:/name/version` or `models:/name@alias`; its newest verdict must be FAIL.
        person: who accepts it.
        reason: why.
        checks: names of all checks that FAIL.
        until: last day (UTC) on which it holds, or the moment at which it ends.
        key: private key that signs; by default `CAMGATE_SIGNING_KEY`.
        also_for: other registered models in which a copy of this version may hold an alias.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Raises:
        InputError: no key; the verdict cannot be waived, or not by this waiver (says which term of the policy
            stands against it); the version's files are not those that were judged.
        ModelError: another kind of URI.
        RegistryError: no such version, or MLflow refuses or cannot be reached.
    """
    signer = signing_key(key)
    if signer is None:
        raise InputError(f"a waiver must be signed: give a private key, by --key or {SIGNING_KEY}")
    said = {"person": " ".join(person.split()), "reason": " ".join(reason.split())}
    for name, text in said.items():
        if not text or len(text) > _LONGEST:
            raise InputError(f"a waiver needs a {name}, of at most {_LONGEST} characters")
    with connected(tracking_uri, registry_uri, doing=f"waive a verdict of {uri}") as client:
        version = version_named(client, uri)
        where = f"models:/{version.name}/{version.version}"
        claim = _claim(version.tags, where)
        now = times.now()
        waiver = Waiver(
            **said,
            checks=tuple(dict.fromkeys(checks)),
            models=(str(version.name), *dict.fromkeys(also_for)),
            version=where,
            model_digest=versions.digest_of(client, version),
            policy_digest=claim.policy,
            run=claim.run,
            signed=now,
            until=_end(until),
            key=str(signer.public_key.keyid),
        )
        if waiver.until <= now:
            raise InputError(f"a waiver until {times.minute(waiver.until)} has ended already")
        unknown = sorted(set(waiver.checks) - set(claim.checks))
        if unknown:
            raise InputError(f"{where} was not judged by {', '.join(unknown)}; {_failing(claim)}")
        if waiver.model_digest != claim.model:
            raise InputError(f"the files of {where} are not those that were judged; audit it again")
        fault = claim.failed.beyond(waiver)
        if fault is not None:
            raise InputError(f"{where} cannot be waived so: {fault}; {_failing(claim)}")
        envelope = waiver.envelope(signer)
        _keep(client, claim.run, tag_of(envelope), envelope)
        client.set_model_version_tag(version.name, str(version.version), tag_of(envelope), envelope)
        return replace(waiver, signed=times.parse(times.text(waiver.signed)) or now)


def _claim(tags: dict[str, str], where: str) -> Claim:
    if ATTESTATION not in tags:
        raise InputError(f"{where} carries no attested verdict: there is nothing to waive")
    statement, _, _ = unseal(tags[ATTESTATION], ())
    return Claim.of(statement)


def _end(until: date | datetime) -> datetime:
    """A day holds to its end."""
    if isinstance(until, datetime):
        return until if until.tzinfo else until.replace(tzinfo=UTC)
    return datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1)


def _failing(claim: Claim) -> str:
    found = [f"{name} {status}" for name, status in claim.checks.items() if status != "PASS"]
    return f"its verdict is {claim.status} ({', '.join(found) or 'every check passes'})"


def _keep(client: MlflowClient, run: str, tag: str, envelope: str) -> None:
    """The envelope as a file of the run, before the version carries it."""
    with tempfile.TemporaryDirectory(prefix="camgate-waiver-") as folder:
        path = Path(folder) / f"{tag.rpartition('.')[2]}.json"
        path.write_text(envelope + "\n", encoding="utf-8")
        client.log_artifact(run, str(path), "gate/waivers")
