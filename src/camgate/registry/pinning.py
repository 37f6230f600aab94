"""The policy that a registered model expects: only what this one judged can be promoted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camgate.gate.policy import Policy
from camgate.registry.connection import connected
from camgate.registry.evidence import PINNED
from camgate.registry.versions import check_names, ensure_model


def pin_policy(
    name: str,
    policy: Policy | Mapping[str, Any] | str | Path,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> str:
    """Store a policy's digest on a registered model; a verdict by another policy promotes nothing there.

    Args:
        name: registered model; made if absent, so that it can be pinned before its first version.
        policy: itself, a mapping, or the path of a YAML file.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Returns:
        The digest.

    Raises:
        PolicyError: the policy cannot be read.
        InputError: a name that MLflow refuses.
        RegistryError: MLflow refuses or cannot be reached.
    """
    digest = Policy.read(policy).digest()
    check_names(name)
    with connected(tracking_uri, registry_uri, doing=f"pin the policy of {name}") as client:
        ensure_model(client, name)
        client.set_registered_model_tag(name, PINNED, digest)
    return digest


def pinned_policy(
    name: str, *, tracking_uri: str | None = None, registry_uri: str | None = None
) -> str | None:
    """Digest of the policy that is pinned on a registered model, None where none is.

    Raises:
        RegistryError: no such registered model, or MLflow cannot be reached.
    """
    with connected(tracking_uri, registry_uri, doing=f"read the pinned policy of {name}") as client:
        held = client.get_registered_model(name).tags.get(PINNED)
        return None if held is None else str(held)
