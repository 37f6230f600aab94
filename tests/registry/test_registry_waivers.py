"""A FAIL is promoted under a signed waiver that covers it, and under nothing else; everybody is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from mlflow import MlflowClient
from typer.testing import CliRunner

from camgate.audit.result import AuditResult
from camgate.cli import app
from camgate.errors import InputError
from camgate.gate.verdict import Status, Verdict
from camgate.gate.waivers import WaiverTerms
from camgate.registry import locks, times
from camgate.registry.attestation import attest
from camgate.registry.pinning import pin_policy
from camgate.registry.promotion import Promotion, promote_copy, register_and_promote
from camgate.registry.record import read_record
from camgate.registry.signing import SIGNING_KEY, TRUSTED_KEYS, make_keys, signing_key
from camgate.registry.verify import verify
from camgate.registry.waivers import TAG, Failed, Waiver, waivers_in
from camgate.registry.waiving import waive
from camgate.report.files import write_report

NAME, VERSION = "underpass", "models:/underpass/1"
BOTH = ("invalid_lift", "background_gap")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ALLOWED = {"allowed": True, "max_days": 10}
Go = Callable[..., Promotion]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the pipeline, which signs verdicts, of Ada, who is trusted too, and of a stranger."""
    found = {}
    for who in ("pipeline", "ada", "stranger"):
        private, _, name = make_keys(tmp_path / "keys" / who)
        found |= {who: str(private), f"{who}.pub": f"{private}.pub", f"{who}.id": name}
    monkeypatch.setenv(SIGNING_KEY, found["pipeline"])
    monkeypatch.setenv(TRUSTED_KEYS, f"{found['pipeline.pub']}:{found['ada.pub']}")
    return found


@pytest.fixture
def judge_and_promote(
    store: str,
    run_id: str,
    keys: dict[str, str],
    log_files: Callable[[str], tuple[str, str]],
    make_verdict: Callable[..., Verdict],
    result: AuditResult,
) -> Go:
    """Judges the files "a", attests, promotes; the policy is pinned and allows waivers of ten days."""
    model = log_files("a")

    def go(status: str = "FAIL", *, waivers: dict[str, Any] | None = None, **options: Any) -> Promotion:
        created = {"created": times.text(times.now())}
        verdict = make_verdict(status, model[1], waivers=ALLOWED | (waivers or {})).model_copy(update=created)
        verdict = verdict.model_copy(update=options.pop("verdict", {}))
        pin_policy(NAME, {}, tracking_uri=store)
        return register_and_promote(
            verdict,
            model_uri=model[0],
            name=NAME,
            run_id=run_id,
            attestation=attest(verdict, result, runs={"audit": run_id}),
            tracking_uri=store,
            **options,
        )

    return go


@pytest.fixture
def sign(store: str, keys: dict[str, str]) -> Callable[..., Waiver]:
    def go(uri: str = VERSION, *, who: str = "ada", days: float = 5, **options: Any) -> Waiver:
        said = {"person": "Ada", "reason": "the wall is in every picture", "checks": BOTH}
        until = times.now() + timedelta(days=days)
        return waive(uri, **said | {"until": until, "key": keys[who], "tracking_uri": store} | options)

    return go


def tags(store: str, version: str = "1", name: str = NAME) -> dict[str, str]:
    return dict(MlflowClient(store).get_model_version(name, version).tags)


def unwaived(found: Any) -> dict[str, str]:
    return {proof.name: proof.message for proof in found.proofs if proof.status != "PASS"}


def test_a_waived_fail_is_promoted_and_everybody_is_told(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], keys: dict[str, str], run_id: str
) -> None:
    first = judge_and_promote()
    assert (first.status, first.alias_moved) == ("rejected", False)
    waiver = sign()
    assert tags(store)["validation_status"] == "rejected", "a waiver alone moves and changes nothing"

    done = promote_copy(VERSION, tracking_uri=store)
    assert (done.version, done.status, done.reason, done.alias_moved) == (1, "waived", "waived", True)
    assert "champion under a waiver (FAIL: above_limit; Ada accepts" in done.sentence
    held = tags(store)
    assert (held["camgate.verdict"], held["validation_status"]) == ("FAIL", "waived")
    assert held["camgate.waived"] == waiver.sentence()
    assert f"until {times.minute(waiver.until)}: the wall is in every picture" in waiver.sentence()
    files = [each.path for each in MlflowClient(store).list_artifacts(run_id, "gate/waivers")]
    (tag,) = [key for key in held if key.startswith(TAG)]
    assert files == [f"gate/waivers/{tag.removeprefix(TAG)}.json"]

    found = verify(f"models:/{NAME}@champion", tracking_uri=store)
    assert found.status == "PASS", unwaived(found)
    (said,) = [proof.message for proof in found.proofs if proof.name == "waiver"]
    assert said == f"WAIVED: {waiver.sentence()}"
    assert json.loads(json.dumps(found.to_dict()))["status"] == "PASS"


def test_the_next_run_of_the_same_model_finds_the_waiver(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver]
) -> None:
    judge_and_promote()
    sign()
    assert judge_and_promote().status == "waived"
    assert judge_and_promote("INCONCLUSIVE").reason == "above_limit"
    assert judge_and_promote("ERROR").reason == "above_limit"
    assert judge_and_promote("PASS").status == "approved"
    assert tags(store)["camgate.waived"] == ""


def test_the_end_of_a_waiver(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_and_promote()
    waiver = sign(days=1)
    assert promote_copy(VERSION, tracking_uri=store).alias_moved
    after = waiver.until + timedelta(seconds=1)
    monkeypatch.setattr(times, "now", lambda: after)
    found = verify(f"models:/{NAME}@champion", tracking_uri=store)
    assert found.status == "FAIL"
    assert set(unwaived(found)) == {"verdict", "waiver"}
    assert f"it ended {times.minute(waiver.until)}" in unwaived(found)["waiver"]
    assert promote_copy(VERSION, tracking_uri=store).reason == "above_limit"


def test_a_waiver_that_goes_while_the_lock_is_taken(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_and_promote()
    sign()
    acquire = locks.acquire

    def late(*args: Any, **options: Any) -> locks.Lock:
        for key in [key for key in tags(store) if key.startswith(TAG)]:
            MlflowClient(store).delete_model_version_tag(NAME, "1", key)
        return acquire(*args, **options)

    monkeypatch.setattr(locks, "acquire", late)
    done = judge_and_promote()
    assert (done.reason, done.alias_moved) == ("waiver_gone", False)
    assert "has ended or is gone" in done.sentence


def test_who_may_waive(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], keys: dict[str, str]
) -> None:
    judge_and_promote()
    sign(who="stranger")
    refused = promote_copy(VERSION, tracking_uri=store)
    assert (refused.reason, refused.alias_moved) == ("above_limit", False)
    assert promote_copy(VERSION, keys=[keys["stranger.pub"]], tracking_uri=store).alias_moved
    found = verify(VERSION, tracking_uri=store)
    assert unwaived(found)["waiver"] == "no trusted key has signed a waiver"
    record = read_record(VERSION, tracking_uri=store)
    assert (record.waivers, record.unproven) == ((), 1)


def test_without_a_key_a_verifier_knows_of_no_waiver(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_and_promote()
    sign()
    promote_copy(VERSION, tracking_uri=store)
    monkeypatch.delenv(TRUSTED_KEYS)
    found = verify(VERSION, allow_unsigned=True, tracking_uri=store)
    assert found.status == "INCONCLUSIVE"
    assert "no trusted key was given" in unwaived(found)["waiver"]
    assert promote_copy(VERSION, tracking_uri=store).reason == "above_limit"


@pytest.mark.parametrize(
    ("terms", "fault"),
    [
        ({"allowed": False}, "the policy allows no waivers"),
        ({"max_days": 2}, r"longer than the policy allows \(waivers.max_days: 2\)"),
        ({"checks": ("invalid_lift",)}, "does not let background_gap be waived"),
        ({"keys": ("0" * 64,)}, "does not let the owner of this key waive"),
    ],
)
def test_the_policys_terms(
    terms: dict[str, Any], fault: str, store: str, judge_and_promote: Go, sign: Callable[..., Waiver]
) -> None:
    judge_and_promote(waivers=terms)
    with pytest.raises(InputError, match=fault):
        sign()
    assert not any(key.startswith(TAG) for key in tags(store))


def test_the_policys_keys_let_their_owner_waive(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], keys: dict[str, str]
) -> None:
    judge_and_promote(waivers={"keys": (keys["ada.id"],)})
    with pytest.raises(InputError, match="the owner of this key"):
        sign(who="pipeline")
    sign()
    assert promote_copy(VERSION, tracking_uri=store).alias_moved


@pytest.mark.parametrize(
    ("status", "options", "fault"),
    [
        ("PASS", {}, "the verdict is PASS, and only FAIL can be waived.*every check passes"),
        ("ERROR", {}, "the verdict is ERROR, and only FAIL can be waived"),
        ("FAIL", {"checks": ["invalid_lift"]}, "it does not cover background_gap"),
        ("FAIL", {"checks": ["acuracy", *BOTH]}, "was not judged by acuracy; its verdict is FAIL"),
        ("FAIL", {"days": -1}, "has ended already"),
        ("FAIL", {"person": " \n"}, "needs a person"),
        ("FAIL", {"reason": "x" * 2001}, "needs a reason, of at most 2000"),
        ("FAIL", {"key": "no-such-file"}, "the key cannot be read"),
    ],
)
def test_what_cannot_be_waived(
    status: str,
    options: dict[str, Any],
    fault: str,
    judge_and_promote: Go,
    sign: Callable[..., Waiver],
    store: str,
) -> None:
    judge_and_promote(status)
    with pytest.raises(InputError, match=fault):
        sign(**options)
    assert not any(key.startswith(TAG) for key in tags(store))


def test_a_key_is_required(
    judge_and_promote: Go, sign: Callable[..., Waiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_and_promote()
    monkeypatch.delenv(SIGNING_KEY)
    with pytest.raises(InputError, match=f"by --key or {SIGNING_KEY}"):
        sign(key=None)


def test_a_failing_check_beside_an_undecided_one_cannot_be_waived(
    judge_and_promote: Go, sign: Callable[..., Waiver], make_verdict: Callable[..., Verdict]
) -> None:
    lift, gap = make_verdict("FAIL", "0" * 64).checks
    checks = (lift, gap.model_copy(update={"status": Status.INCONCLUSIVE}))
    judge_and_promote(verdict={"checks": checks})
    with pytest.raises(InputError, match=r"cannot cover background_gap \(INCONCLUSIVE\)"):
        sign()


def test_a_waiver_is_for_these_files_this_policy_and_this_model(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], log_files: Any, keys: dict[str, str]
) -> None:
    judge_and_promote()
    sign()
    assert promote_copy(VERSION, name="production", tracking_uri=store).reason == "above_limit"
    sign(also_for=["production"])
    done = promote_copy(VERSION, name="production", tracking_uri=store)
    assert (done.name, done.status, done.alias_moved) == ("production", "waived", True)
    assert tags(store, name="production")["validation_status"] == "waived"


def test_a_stolen_waiver(
    store: str,
    judge_and_promote: Go,
    sign: Callable[..., Waiver],
    log_files: Callable[[str], tuple[str, str]],
    make_verdict: Callable[..., Verdict],
    result: AuditResult,
    run_id: str,
) -> None:
    judge_and_promote()
    sign()
    uri, digest = log_files("another")
    verdict = make_verdict("FAIL", digest, waivers=ALLOWED)
    verdict = verdict.model_copy(update={"created": times.text(times.now())})
    options: dict[str, Any] = {"model_uri": uri, "name": NAME, "run_id": run_id, "tracking_uri": store}
    options["attestation"] = attest(verdict, result, runs={"audit": run_id})
    assert register_and_promote(verdict, **options).version == 2
    for key, value in tags(store).items():
        if key.startswith(TAG):
            MlflowClient(store).set_model_version_tag(NAME, "2", key, value)
    assert register_and_promote(verdict, **options).reason == "above_limit"
    assert "another model's files" in unwaived(verify(f"models:/{NAME}/2", tracking_uri=store))["waiver"]


def test_changed_files_are_not_waived(
    store: str, judge_and_promote: Go, sign: Callable[..., Waiver], weights_of: Callable[[str], Path]
) -> None:
    judge_and_promote()
    source = MlflowClient(store).get_model_version(NAME, "1").source
    weights_of(source).write_text("b")
    with pytest.raises(InputError, match="not those that were judged"):
        sign()


FAILED = Failed("FAIL", {"a": "FAIL", "b": "PASS"}, "p" * 64, WaiverTerms(allowed=True, max_days=10))
WAIVER = Waiver(
    person="Ada",
    reason="why",
    checks=("a",),
    models=("m",),
    version="models:/m/1",
    model_digest="d" * 64,
    policy_digest="p" * 64,
    run="r",
    signed=NOW - timedelta(days=1),
    until=NOW + timedelta(days=1),
    key="k",
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"checks": ("a", "b")}, None),
        ({"model_digest": "e" * 64}, "another model's files"),
        ({"policy_digest": "q" * 64}, "a verdict by another policy"),
        ({"models": ("n", "o")}, "it is for n, o, not for m"),
        ({"signed": NOW + timedelta(hours=1)}, "signed in the future"),
        ({"until": NOW}, "it ended"),
        ({"signed": NOW - timedelta(days=10)}, "longer than the policy allows"),
        ({"checks": ("b",)}, "does not cover a"),
        ({"checks": ()}, "does not cover a"),
    ],
)
def test_what_a_waiver_covers(change: dict[str, Any], fault: str | None) -> None:
    said = FAILED.uncovered(replace(WAIVER, **change), name="m", digest="d" * 64, now=NOW)
    assert said is None if fault is None else fault in str(said)


def test_a_waiver_survives_its_envelope_and_nothing_else_does(keys: dict[str, str]) -> None:
    ada = signing_key(keys["ada"])
    assert ada is not None
    said = replace(WAIVER, key=keys["ada.id"])
    envelope = said.envelope(ada)
    trusted = [ada.public_key]
    assert waivers_in({f"{TAG}1": envelope, "other": envelope}, trusted) == [said]
    assert waivers_in({f"{TAG}1": envelope}, []) == []
    changed = json.loads(envelope)
    changed["payload"] = json.loads(replace(said, person="Eve").envelope(ada))["payload"]
    for text in ("", "{}", "[]", json.dumps(changed), envelope[:-20], '{"payload": 1}'):
        assert waivers_in({f"{TAG}1": text}, trusted) == []


def test_the_commands(
    store: str,
    judge_and_promote: Go,
    keys: dict[str, str],
) -> None:
    judge_and_promote()

    def run(arguments: list[str]) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", store)
            return CliRunner().invoke(app, arguments)

    refused = run(["promote", VERSION])
    assert (refused.exit_code, "was not promoted (FAIL: above_limit)" in refused.output) == (1, True)
    day = (times.now() + timedelta(days=3)).date()
    words = ["waive", VERSION, "--person", "Ada \x1b[31m<b>", "--reason", "[bold]why", "--key", keys["ada"]]
    words += ["--check", BOTH[0], "--check", BOTH[1]]
    said = run([*words, "--until", day.isoformat()])
    assert said.exit_code == 0, said.output
    assert "\x1b" not in said.output
    assert f"until {day + timedelta(days=1)} 00:00 UTC: [bold]why" in said.output
    assert "next: camgate promote models:/underpass/1" in said.output
    bad = run([*words, "--until", "soon"])
    assert isinstance(bad.exception, InputError)
    moved = run(["promote", VERSION, "--json"])
    assert (moved.exit_code, json.loads(moved.output)["status"]) == (0, "waived")
    held = run(["verify", f"models:/{NAME}@champion"])
    assert (held.exit_code, "WAIVED: Ada" in held.output) == (0, True)


def test_the_report_shows_waivers_and_attempts(
    store: str,
    judge_and_promote: Go,
    sign: Callable[..., Waiver],
    make_verdict: Callable[..., Verdict],
    result: AuditResult,
    tmp_path: Path,
) -> None:
    judge_and_promote()
    sign(person="<b>Ada</b>")
    sign(who="stranger")
    record = read_record(VERSION, tracking_uri=store)
    verdict = make_verdict("FAIL", result.model_digest, waivers=ALLOWED).model_copy(
        update={"data_digest": result.data_digest}
    )
    with pytest.raises(InputError, match="was audited as model"):
        write_report(tmp_path, result, verdict, record=record)
    (waiver,) = record.waivers
    digests = {"digest": result.model_digest, "waivers": (replace(waiver, model_digest=result.model_digest),)}
    page = write_report(tmp_path, result, verdict, record=replace(record, **digests)).read_text()
    assert "<strong>Waived.</strong> &lt;b&gt;Ada&lt;/b&gt; accepts the FAIL of" in page
    assert "1 more without a signature by a trusted key" in page
    assert "Every verdict ever given about this version" in page
    late = replace(digests["waivers"][0], until=NOW - timedelta(days=300))
    page = write_report(
        tmp_path, result, verdict, record=replace(record, **digests | {"waivers": (late,)})
    ).read_text()
    assert "<strong>Waived.</strong>" not in page
    assert "Does not hold, it ended" in page


def test_a_day_holds_to_its_end(judge_and_promote: Go, sign: Callable[..., Waiver]) -> None:
    judge_and_promote()
    tomorrow = (times.now() + timedelta(days=1)).date()
    waiver = sign(until=date.fromisoformat(tomorrow.isoformat()))
    assert waiver.until == datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=UTC) + timedelta(
        days=1
    )
