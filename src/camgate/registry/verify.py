"""Does what an alias points to carry evidence of its own? Asks the registry; runs and unpickles nothing.

Whoever can write tags can write any of them, so what is believed is the signed statement, held against the
files themselves, the pinned policy and the records; a tag that says something else is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from securesystemslib.signer import Key

from camgate.errors import InputError, ModelError
from camgate.gate.verdict import Status, gravest
from camgate.registry import history, locks, times, versions
from camgate.registry.attestation import Claim
from camgate.registry.connection import connected, without_credentials
from camgate.registry.evidence import ATTESTATION, PINNED, attempts
from camgate.registry.locations import version_named
from camgate.registry.signing import trusted_keys, unseal
from camgate.registry.waivers import TAG as WAIVERS
from camgate.registry.waivers import waivers_in


@dataclass(frozen=True)
class Proof:
    """One thing that must hold.

    Attributes:
        name: `attestation` | `signature` | `digest` | `verdict` | `waiver` | `policy` | `age` | `tags` |
            `attempts` | `history` | `readable`.
        status: PASS; FAIL where it does not hold; INCONCLUSIVE where it cannot be known.
        message: in plain words.
    """

    name: str
    status: Status
    message: str


@dataclass(frozen=True)
class Verification:
    """What `verify` found about one version.

    Attributes:
        name, version: of the registered model; load this version, not the alias, which may move.
        alias: that was asked for, None where a version was.
        digest: of the version's files, as they are in the registry now.
        proofs: all that was looked at.
    """

    name: str
    version: int
    alias: str | None
    digest: str
    proofs: tuple[Proof, ...]

    @property
    def status(self) -> Status:
        """PASS only if everything holds."""
        return gravest(proof.status for proof in self.proofs)

    @property
    def uri(self) -> str:
        """`models:/name/version`."""
        return f"models:/{self.name}/{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "status": str(self.status), "uri": self.uri}


def verify(
    uri: str,
    *,
    keys: Iterable[str | Path] = (),
    allow_unsigned: bool = False,
    policy_digest: str | None = None,
    max_age: timedelta | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Verification:
    """Verify one version: its files, the statement about them, who signed it, and its record.

    Args:
        uri: `models:/name@alias` or `models:/name/version`; an alias is resolved once.
        keys: files of the public keys that are trusted; by default `CAMGATE_TRUSTED_KEYS`.
        allow_unsigned: a statement without any signature is enough; a signature that no trusted key made is
            not.
        policy_digest: that must have judged; by default the one pinned on the registered model.
        max_age: of the verdict; its policy's `max_evidence_days` holds besides.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Raises:
        InputError: a key that cannot be read.
        ModelError: another kind of URI.
        RegistryError: no such version, or MLflow cannot be reached.
    """
    trusted = trusted_keys(keys)
    with connected(tracking_uri, registry_uri, doing=f"verify {uri}") as client:
        version = version_named(client, uri)
        alias = uri.rpartition("@")[2] if "@" in uri else None
        return _verified(client, version, alias, trusted, allow_unsigned, policy_digest, max_age)


def verify_all(
    *,
    keys: Iterable[str | Path] = (),
    allow_unsigned: bool = False,
    max_age: timedelta | None = None,
    alias: str = "champion",
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> list[Verification]:
    """Verify whatever holds `alias` in a registry, by name; see `verify`."""
    trusted, found = trusted_keys(keys), []
    with connected(tracking_uri, registry_uri, doing="verify the registry") as client:
        for name in _names(client):
            model = client.get_registered_model(name)
            if alias in model.aliases:
                version = client.get_model_version(name, str(model.aliases[alias]))
                found.append(_verified(client, version, alias, trusted, allow_unsigned, None, max_age))
    return found


def _names(client: MlflowClient) -> list[str]:
    names: list[str] = []
    token: str | None = None
    while True:
        page = client.search_registered_models(page_token=token)
        names += [model.name for model in page if not model.name.startswith(locks.PREFIX)]
        token = page.token
        if not token:
            return sorted(names)


def _verified(
    client: MlflowClient,
    version: Any,
    alias: str | None,
    trusted: list[Key],
    allow_unsigned: bool,
    policy_digest: str | None,
    max_age: timedelta | None,
) -> Verification:
    model = client.get_registered_model(version.name)
    proofs = []
    digest: str | None = None
    try:
        digest = versions.digest_of(client, version)
    except (ModelError, FileNotFoundError) as error:  # they are gone, or no model
        digest = ""
        proofs.append(Proof("readable", Status.FAIL, _unread(error)))
    except (MlflowException, OSError) as error:  # whatever stands between: who knows what they are
        proofs.append(Proof("readable", Status.INCONCLUSIVE, _unread(error)))
    tags = version.tags
    try:
        if ATTESTATION not in tags:
            raise InputError("the version carries no attestation: it was not promoted by camgate")
        statement, signer, signed = unseal(tags[ATTESTATION], trusted)
        claim = Claim.of(statement)
    except InputError as error:
        proofs.append(Proof("attestation", Status.FAIL, str(error)))
    else:
        proofs += [
            _signature(signer, signed, bool(trusted), allow_unsigned),
            *_about(claim, digest),
            *_judged(claim, version.name, digest, tags, trusted),
            _policy(claim, model.tags.get(PINNED) if policy_digest is None else policy_digest),
            *_age(claim, max_age),
            _tags(claim, tags),
            _attempts(claim, tags),
        ]
    if alias is not None:
        proofs.append(_moved(model, alias, int(version.version)))
    return Verification(version.name, int(version.version), alias, digest or "", tuple(proofs))


def _unread(error: Exception) -> str:
    return without_credentials(f"the version's files cannot be read: {' '.join(str(error).split())[:600]}")


def _about(claim: Claim, digest: str | None) -> list[Proof]:
    if digest is None:  # `readable` says so
        return []
    return [_equal("digest", "the statement is about", claim.model, digest, "the files in the registry")]


def _signature(signer: str | None, signed: bool, any_key: bool, allow_unsigned: bool) -> Proof:
    if signer is not None:
        return Proof("signature", Status.PASS, f"signed by the trusted key {signer[:16]}")
    if not signed:
        status = Status.PASS if allow_unsigned else Status.INCONCLUSIVE
        return Proof("signature", status, "the statement is not signed: anyone may have written it")
    if not any_key:
        said = "signed, but no trusted key was given (--key or CAMGATE_TRUSTED_KEYS)"
        return Proof("signature", Status.INCONCLUSIVE, said)
    return Proof("signature", Status.FAIL, "no trusted key has signed this statement")


def _equal(name: str, what: str, said: str, found: str, where: str) -> Proof:
    if said == found:
        return Proof(name, Status.PASS, f"{what} {said[:16]}, as {where}")
    return Proof(name, Status.FAIL, f"{what} {said[:16] or 'nothing'}, {where}: {found[:16] or 'nothing'}")


def _judged(
    claim: Claim, name: str, digest: str | None, tags: dict[str, str], trusted: list[Key]
) -> list[Proof]:
    """PASS, or FAIL under a waiver that holds, which is told."""
    said = f"the verdict is {claim.status} ({claim.reason})"
    if claim.status == Status.PASS:
        return [Proof("verdict", Status.PASS, said)]
    if claim.status != Status.FAIL or not any(key.startswith(WAIVERS) for key in tags):
        return [Proof("verdict", Status.FAIL, said)]
    if not trusted:
        unknown = "there is a waiver, but no trusted key was given (--key or CAMGATE_TRUSTED_KEYS)"
        return [Proof("verdict", Status.INCONCLUSIVE, said), Proof("waiver", Status.INCONCLUSIVE, unknown)]
    why = "no trusted key has signed a waiver"
    for waiver in waivers_in(tags, trusted):
        about = claim.model if digest is None else digest
        fault = claim.failed.uncovered(waiver, name=name, digest=about, now=times.now())
        if fault is None:
            return [
                Proof("verdict", Status.PASS, f"{said}, and waived"),
                Proof("waiver", Status.PASS, f"WAIVED: {waiver.sentence()}"),
            ]
        why = f"a waiver does not hold, {fault}: {waiver.sentence()}"
    return [Proof("verdict", Status.FAIL, said), Proof("waiver", Status.FAIL, why)]


def _policy(claim: Claim, expected: str | None) -> Proof:
    if expected is None:
        said = "no policy is pinned on the registered model (camgate pin-policy), any may have judged"
        return Proof("policy", Status.INCONCLUSIVE, said)
    return _equal("policy", "judged by", claim.policy, expected, "the policy that is expected")


def _age(claim: Claim, max_age: timedelta | None) -> list[Proof]:
    """The shorter of the verifier's limit and the policy's holds; no proof without any."""
    own = None if max_age is None else max_age.total_seconds() / 86400
    allowed = min((days for days in (own, claim.max_days) if days is not None), default=None)
    if allowed is None:
        return []
    made = times.parse(claim.time)
    if made is None or made > times.now() + timedelta(minutes=5):
        return [Proof("age", Status.FAIL, f"the verdict's time is no time of the past: {claim.time!r}")]
    old = (times.now() - made).total_seconds() / 86400
    said = f"judged {old:.1f} days ago, at most {allowed:g}"
    return [Proof("age", Status.PASS if old <= allowed else Status.FAIL, said)]


def _tags(claim: Claim, tags: dict[str, str]) -> Proof:
    """A tag set by hand contradicts the statement."""
    expected = {
        "camgate.verdict": claim.status,
        "camgate.audited_digest": claim.model,
        "camgate.policy_digest": claim.policy,
        "camgate.data_digest": claim.data,
        "camgate.audit_run_id": claim.run,
    }
    wrong = [key for key, value in expected.items() if tags.get(key) != value]
    if wrong:
        return Proof("tags", Status.FAIL, f"tags contradict the statement: {', '.join(wrong)}")
    return Proof("tags", Status.PASS, "the tags say what the statement says")


def _attempts(claim: Claim, tags: dict[str, str]) -> Proof:
    """The newest attempt under this policy must be the attested one, or a PASS; all are told."""
    found = [each for each in attempts(tags) if each.get("policy") == claim.policy]
    others = [each for each in found if each.get("verdict") != Status.PASS]
    told = f"attempts under this policy: {len(found)}, of which not PASS: {len(others)}"
    if not any(each.get("run") == claim.run and each.get("verdict") == claim.status for each in found):
        return Proof("attempts", Status.FAIL, f"the attested verdict is not among the attempts; {told}")
    newest = found[-1]
    attested = (newest.get("verdict"), newest.get("run")) == (claim.status, claim.run)
    if newest.get("verdict") != Status.PASS and not attested:
        last = f"{newest.get('verdict')} ({newest.get('reason')})"
        return Proof("attempts", Status.FAIL, f"judged again since, and the newest verdict is {last}; {told}")
    return Proof("attempts", Status.PASS, told)


def _moved(model: Any, alias: str, version: int) -> Proof:
    """Whether camgate moved the alias here."""
    done = [each for each in history.decisions(model, alias) if each.state == "done"]
    if done and done[-1].version == version:
        return Proof("history", Status.PASS, f"{alias} was moved here by camgate at {done[-1].time}")
    return Proof("history", Status.FAIL, f"camgate did not move {alias} to version {version}")
