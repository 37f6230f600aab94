"""Promotion over a connection that fails in every way, and the champion looked up after each request."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from champions import Promise
from faulty_proxy import PATIENCE, Proxy, Schedule
from mlflow import MlflowClient
from mlflow_server import Logged, Server
from securesystemslib.signer import CryptoSigner

from camgate.errors import RegistryError
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.registry import times, versions
from camgate.registry.history import alias_history
from camgate.registry.locations import locate
from camgate.registry.locks import PREFIX, current
from camgate.registry.pinning import pin_policy
from camgate.registry.promotion import Promotion, register_and_promote
from camgate.registry.runs import open_run
from camgate.registry.signing import TRUSTED_KEYS, make_keys, signing_key, trusted_keys
from camgate.registry.waivers import Waiver, tag_of

LOCK_SECONDS = 1.5


@dataclass
class Bench:
    """A proxy before a server that holds four models."""

    proxy: Proxy
    promise: Promise
    models: list[Logged]
    run_id: str
    make_verdict: Callable[..., Verdict]
    policy: Policy
    signers: dict[str, CryptoSigner]

    def promote(self, name: str, model: Logged, kind: str) -> Promotion:
        """One promotion; `kind` says what is odd about it."""
        digest = self.models[0].digest if kind == "stolen" else model.digest
        status = {"fail": "FAIL", "waived": "FAIL", "forged": "FAIL", "inconclusive": "INCONCLUSIVE"}
        verdict = self.make_verdict(
            status.get(kind, "PASS"), digest, policy="0" * 64 if kind == "policy" else None
        )
        proof = {"model": digest, "verdict": verdict.status}
        if kind in self.signers:
            self.waive(name, model, self.signers[kind])
        return register_and_promote(
            verdict,
            model_uri=model.model_uri,
            name=name,
            run_id=self.run_id,
            tracking_uri=self.proxy.uri,
            attestation=json.dumps(proof),
            lock_seconds=LOCK_SECONDS,
        )

    def waive(self, name: str, model: Logged, signer: CryptoSigner) -> None:
        """Put a waiver on the version, past the proxy."""
        client = MlflowClient(self.promise.server.uri)
        version = versions.registered(client, locate(client, model.model_uri), name)
        now = times.now()
        envelope = Waiver(
            person="Ada",
            reason="a test",
            checks=("invalid_lift",),
            models=(name,),
            version=f"models:/{name}/{version.version}",
            model_digest=model.digest,
            policy_digest=self.policy.digest(),
            run=self.run_id,
            signed=now,
            until=now + timedelta(days=1),
        ).envelope(signer)
        client.set_model_version_tag(name, version.version, tag_of(envelope), envelope)


@pytest.fixture
def bench(
    server: Server,
    log_model: Callable[..., Logged],
    make_verdict: Callable[..., Verdict],
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    elsewhere: None,
) -> Iterator[Bench]:
    promise = Promise(server)
    signers = {}
    for who in ("waived", "forged"):
        private, public, _ = make_keys(tmp_path / who)
        signer = signing_key(private)
        assert signer is not None
        signers[who] = signer
        if who == "waived":
            promise.keys = trusted_keys([public])
            monkeypatch.setenv(TRUSTED_KEYS, str(public))
    with Proxy(server.port, promise.check).running() as proxy:
        for key, value in {
            "MLFLOW_TRACKING_URI": proxy.uri,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
            "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(PATIENCE)),
        }.items():
            monkeypatch.setenv(key, value)
        run_id = open_run(experiment="faults", key="faults", tracking_uri=server.uri)
        models = [log_model(server.uri, run_id, str(number)) for number in range(5)]
        yield Bench(proxy, promise, models, run_id, make_verdict, policy, signers)


KINDS = ("pass",) * 4 + ("two",) * 2 + ("fail", "inconclusive", "stolen", "policy", "waived", "forged")
# The fourth model alone has a waiver, the fifth one that no trusted key has signed.
WAIVED = {"waived": 3, "forged": 4}
EXPECTED = {
    "fail": {"above_limit"},
    "inconclusive": {"above_limit"},
    "stolen": {"digest_mismatch"},
    "policy": {"policy_mismatch"},
    "waived": {"waived"},
    "forged": {"above_limit"},
}


@pytest.mark.parametrize(
    "schedules", [40, pytest.param(240, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_the_promise_holds_whatever_the_connection_does(
    schedules: int, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: Counter[str] = Counter()
    started = time.monotonic()
    name, requests = "", 50
    for seed in range(schedules):
        chance = random.Random(f"{schedules} {seed}")
        if seed % 5 == 0:
            name = f"faults-{schedules}-{seed}"
            if chance.random() < 0.6:
                pin_policy(name, bench.policy, tracking_uri=bench.proxy.uri)
        kind = chance.choice(KINDS)
        if kind == "policy" and not pinned(bench, name):
            kind = "pass"
        models = [bench.models[WAIVED[kind]]] if kind in WAIVED else chance.sample(bench.models[1:3], 2)
        bench.proxy.schedule = Schedule(seed, requests)
        for each in together(bench, name, models if kind == "two" else models[:1], kind):
            if isinstance(each, Promotion):
                allowed = EXPECTED.get(kind, {"ok"}) | {"lock_held", "lock_lost", "champion_changed"}
                assert each.reason in allowed | {"evidence_changed"}, (seed, kind, each)
                assert not each.alias_moved or each.reason in {"ok", "waived"}
                outcomes[each.reason] += 1
            else:
                assert isinstance(each, RegistryError), (seed, kind, repr(each))
                outcomes["error"] += 1
        bench.proxy.quiet()
        bench.promise.check()
        assert not bench.promise.broken, (seed, kind, bench.promise.broken)
        after_all_is_well(bench, name, bench.models[0], seed)
    assert bench.promise.moments > 20 * schedules
    faults = {kind: count for kind, count in sorted(bench.proxy.seen.items()) if kind != "through"}
    assert {"delay", "error_before", "error_after", "cut_before", "cut_after", "dead"} <= set(faults)
    assert {"ok", "error"} <= set(outcomes)
    with capsys.disabled():
        print(
            f"\n{schedules} schedules of faults, {time.monotonic() - started:.0f} s: "
            f"{sum(faults.values())} faults {faults}, promotions {dict(sorted(outcomes.items()))}, "
            f"{sum(map(len, bench.promise.moves.values()))} moves of the alias; the champion was looked up "
            f"{bench.promise.moments} times and had its evidence every time"
        )


def pinned(bench: Bench, name: str) -> bool:
    client = MlflowClient(bench.proxy.uri)
    found = client.search_registered_models(f"name='{name}'")
    return bool(found) and "camgate.pinned_policy" in found[0].tags


def together(bench: Bench, name: str, models: list[Logged], kind: str) -> list[Any]:
    """What became of promotions at the same time: a Promotion or an exception each."""
    results: list[Any] = []

    def go(model: Logged) -> None:
        try:
            results.append(bench.promote(name, model, kind))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=go, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def after_all_is_well(bench: Bench, name: str, model: Logged, seed: int) -> None:
    """The next promotion succeeds, completes the history, and leaves no lock."""
    server = bench.promise.server.uri
    lock = current(MlflowClient(server), name, "champion")
    if lock is not None:  # of a promotion that died
        time.sleep(max(0, (lock.expires - times.now()).total_seconds()))
    done = bench.promote(name, model, "pass")
    assert (done.reason, done.alias_moved) == ("ok", True), (seed, done)
    past = alias_history(name, tracking_uri=server)
    assert {each.state for each in past} <= {"done", "abandoned"}, (seed, past)
    assert [each.version for each in past if each.state == "done"][-1] == done.version
    held = MlflowClient(server).get_registered_model(name).aliases
    assert int(held["champion"]) == done.version
    left = MlflowClient(server).search_registered_models(f"name LIKE '{PREFIX}{name}--%'")
    assert not [each.name for each in left], seed


def test_the_promise_is_seen_to_be_broken(bench: Bench) -> None:
    """Whoever goes around camgate breaks it, and the check of these tests says so."""
    bench.promote("broken", bench.models[1], "fail")
    bench.promise.check()
    assert not bench.promise.broken
    MlflowClient(bench.proxy.uri).set_registered_model_alias("broken", "champion", "1")
    assert "no decision" in bench.promise.broken[0]
    MlflowClient(bench.proxy.uri).delete_registered_model("broken")
