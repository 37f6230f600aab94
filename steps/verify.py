"""Step: prove that what is about to be deployed was audited."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from zenml import step

import camgate.materializers  # noqa: F401  (registers them)
from camgate.errors import PromotionBlocked
from camgate.gate.verdict import Status
from camgate.materializers.sources import pin
from camgate.registry.verify import verify
from camgate.steps._tracking import tracking_server


@step(enable_cache=False)
def verify_model(
    uri: str,
    keys: list[str] | None = None,
    allow_unsigned: bool = False,
    policy_digest: str | None = None,
    max_age_days: float | None = None,
) -> Annotated[str, "verified_uri"]:
    """Verify a registered model and name the version to deploy: the alias may move meanwhile. Never cached.

    Only reads: it opens no MLflow run.

    Args:
        uri: `models:/name@alias` or `models:/name/version`.
        keys: files of trusted public keys; by default `CAMGATE_TRUSTED_KEYS`.
        allow_unsigned: accept a statement that nobody signed.
        policy_digest: of the policy that must have judged; by default the one that is pinned.
        max_age_days: oldest verdict that is accepted.

    Returns:
        `models:/name/version`.

    Raises:
        PromotionBlocked: something does not hold, or cannot be known; says what.
        RegistryError: no such version, or MLflow cannot be reached.
    """
    with tracking_server() as tracking_uri:
        found = verify(
            uri,
            keys=keys or (),
            allow_unsigned=allow_unsigned,
            policy_digest=policy_digest,
            max_age=None if max_age_days is None else timedelta(days=max_age_days),
            tracking_uri=tracking_uri,
        )
    faults = [proof.message for proof in found.proofs if proof.status is not Status.PASS]
    if faults:
        raise PromotionBlocked(f"{found.uri} is not proven ({found.status}): {'; '.join(faults)}.")
    return found.uri


pin(verify_model.entrypoint)
