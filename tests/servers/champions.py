"""The promise, looked up in the server's own database: what each champion carries fits what it is."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import defaultdict

from mlflow_server import Server
from securesystemslib.signer import Key

from camgate.registry import times
from camgate.registry.digest import folder_digest
from camgate.registry.waivers import waivers_in


class Promise:
    """At every moment a champion has a PASS that fits its own digest, or a valid waiver.

    Models that are registered when the watch begins are not watched: other tests have tampered with theirs.

    Attributes:
        moments: how often it was looked up.
        broken: what was wrong, if anything.
        moves: champions that were seen, one entry for each change.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.moments = 0
        self.broken: list[str] = []
        self.moves: dict[str, list[int]] = defaultdict(list)
        self.keys: list[Key] = []
        """Whose waivers are valid."""
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()
        with self._base() as base:
            self._others = {name for (name,) in base.execute("SELECT name FROM registered_models")}

    def _base(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.server.database}?mode=ro", uri=True, timeout=30)

    def check(self) -> None:
        with self._lock, self._base() as base:
            self.moments += 1
            for name, version, location in base.execute(
                "SELECT a.name, a.version, coalesce(v.storage_location, v.source)"
                " FROM registered_model_aliases a JOIN model_versions v"
                " ON v.name = a.name AND v.version = a.version WHERE a.alias = 'champion'"
            ).fetchall():
                if name in self._others:
                    continue
                tags = dict(
                    base.execute(
                        "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?",
                        (name, version),
                    )
                )
                model = dict(
                    base.execute("SELECT key, value FROM registered_model_tags WHERE name = ?", (name,))
                )
                wrong = self._wrong(tags, model, self._digest(location))
                if wrong:
                    self.broken.append(f"{name} version {version}: {wrong}")
                if self.moves[name][-1:] != [version]:
                    self.moves[name].append(version)

    def _wrong(self, tags: dict[str, str], model: dict[str, str], digest: str) -> str | None:
        proof = json.loads(tags.get("camgate.attestation", "{}"))
        if {tags.get("camgate.model_digest"), tags.get("camgate.audited_digest"), proof.get("model")} != {
            digest
        }:
            return f"its evidence is not of digest {digest}: {tags}"
        pinned = model.get("camgate.pinned_policy")
        if pinned not in {None, tags.get("camgate.policy_digest")}:
            return f"judged by another policy than {pinned}: {tags}"
        if not any(key.startswith("camgate.decision.champion.") for key in model):
            return "no decision about it was written"
        if not any(key.startswith("camgate.attempt.") for key in tags):
            return "no attempt was recorded"
        if tags.get("camgate.verdict") == proof.get("verdict") == "PASS":
            return None
        waivers = [each for each in waivers_in(tags, self.keys) if each.model_digest == digest]
        if tags.get("camgate.verdict") == "FAIL" and any(each.until > times.now() for each in waivers):
            return None
        return f"no PASS and no waiver: {tags}"

    def _digest(self, location: str) -> str:
        if location not in self._digests:
            self._digests[location] = folder_digest(self.server.files(location))
        return self._digests[location]
