"""The record of a version, for people: every attempt on it, and who waived what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camgate.registry.connection import connected
from camgate.registry.evidence import attempts
from camgate.registry.locations import version_named
from camgate.registry.signing import trusted_keys
from camgate.registry.waivers import TAG, Waiver, waivers_in


@dataclass(frozen=True)
class Record:
    """What a version's tags tell.

    Attributes:
        uri: `models:/name/version`.
        name: registered model.
        digest: of the model that was audited, as the tags say.
        attempts: the oldest first; keys `time`, `verdict`, `reason`, `policy`, `method`, `seed`, `run`.
        waivers: signed by a trusted key, the one that ends last first.
        unproven: number of waivers that no trusted key has signed.
    """

    uri: str
    name: str
    digest: str
    attempts: tuple[dict[str, Any], ...]
    waivers: tuple[Waiver, ...] = ()
    unproven: int = 0


def read_record(
    uri: str,
    *,
    keys: Iterable[str | Path] = (),
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Record:
    """Read the record of a version.

    Args:
        uri: `models:/name/version` or `models:/name@alias`.
        keys: files of the public keys that are trusted; by default `CAMGATE_TRUSTED_KEYS`.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Raises:
        InputError: a key that cannot be read.
        ModelError: another kind of URI.
        RegistryError: no such version, or MLflow cannot be reached.
    """
    with connected(tracking_uri, registry_uri, doing=f"read the record of {uri}") as client:
        version = version_named(client, uri)
    tags = version.tags
    waivers = waivers_in(tags, trusted_keys(keys))
    return Record(
        uri=f"models:/{version.name}/{version.version}",
        name=str(version.name),
        digest=tags.get("camgate.audited_digest", ""),
        attempts=tuple(attempts(tags)),
        waivers=tuple(waivers),
        unproven=sum(key.startswith(TAG) for key in tags) - len(waivers),
    )
