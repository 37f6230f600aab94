"""Whose turn it is, and what was decided: one at a time, one version for one key, however a run ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from mlflow import MlflowClient

from camgate.errors import InputError, RegistryError
from camgate.gate.verdict import Verdict
from camgate.registry import times
from camgate.registry.champion import RIVAL
from camgate.registry.files import log_files, read_file, read_folder, run_links
from camgate.registry.promotion import Promotion
from camgate.registry.retraining import (
    KEY,
    Turn,
    busy_sentence,
    champion_run,
    end_turn,
    record_decision,
    retraining_key,
    take_turn,
)
from camgate.registry.runs import open_run

NAME = "underpass"
ONE, TWO = "1" * 64, "2" * 64
Model = tuple[str, str]


@pytest.fixture
def turn(store: str, run_id: str) -> Callable[..., Turn]:
    def take(key: str = ONE, **options: Any) -> Turn:
        return take_turn(NAME, "champion", key, run_id=run_id, tracking_uri=store, **options)

    return take


def end(store: str, turn: Turn) -> None:
    end_turn(NAME, "champion", turn.owner, tracking_uri=store)


def test_the_key_is_of_the_content() -> None:
    first = retraining_key(data="d", options={"training": {"epochs": 3, "seed": 0}}, code=["1", None])
    assert first == retraining_key(code=["1", None], options={"training": {"seed": 0, "epochs": 3}}, data="d")
    assert first != retraining_key(data="d", options={"training": {"epochs": 4, "seed": 0}}, code=["1", None])
    assert len(first) == 64


def test_of_many_at_once_one_has_the_turn(store: str) -> None:
    runs = [open_run(experiment="camgate tests", key=f"at once {n}", tracking_uri=store) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        turns = list(
            pool.map(
                lambda run: take_turn(NAME, "champion", ONE, run_id=run, tracking_uri=store),
                runs,
            )
        )
    assert sorted(each.status for each in turns) == ["busy"] * 5 + ["mine"]
    (mine,) = [each for each in turns if each.status == "mine"]
    (waiting, *_) = [each for each in turns if each.status == "busy"]
    assert waiting.until is not None
    assert "Another retraining of underpass is at work; its lock ends by 2" in busy_sentence(
        NAME, waiting.until
    )
    end(store, waiting)  # not its own
    assert take_turn(NAME, "champion", TWO, run_id=runs[0], tracking_uri=store).status == "busy"
    end(store, mine)
    assert take_turn(NAME, "champion", TWO, run_id=runs[0], tracking_uri=store).status == "mine"


def test_a_turn_of_another_alias_and_a_promotion_are_not_in_its_way(
    store: str,
    turn: Callable[..., Turn],
    run_id: str,
    log_files: Callable[[str], Model],
    promote: Callable[..., Promotion],
) -> None:
    assert turn().status == "mine"
    other = take_turn(NAME, "challenger", ONE, run_id=run_id, tracking_uri=store)
    assert other.status == "mine"
    assert promote(log_files("one")).alias_moved


def test_a_retraining_that_died_is_taken_over(
    turn: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert turn(seconds=60).status == "mine"
    assert turn().status == "busy"
    later = times.now() + timedelta(seconds=61)
    monkeypatch.setattr(times, "now", lambda: later)
    assert turn().status == "mine"


@pytest.mark.parametrize(("status", "promoted"), [("PASS", True), ("FAIL", False), ("INCONCLUSIVE", False)])
def test_a_decision_is_given_again(
    store: str,
    turn: Callable[..., Turn],
    log_files: Callable[[str], Model],
    promote: Callable[..., Promotion],
    make_verdict: Callable[..., Verdict],
    status: str,
    promoted: bool,
) -> None:
    mine = turn()
    model = log_files("one")
    done = promote(model, status)
    assert record_decision(ONE, make_verdict(status, model[1]), done, tracking_uri=store)
    end(store, mine)
    again = turn()
    assert again.status == "decided"
    assert again.decided is not None
    assert (again.decided.version, again.decided.verdict) == (1, status)
    assert (again.decided.promoted, again.decided.sentence) == (promoted, f"{status}, said the test.")
    assert turn(TWO).status == "mine", "the turn was given back"


def test_an_error_decides_nothing(
    store: str,
    turn: Callable[..., Turn],
    log_files: Callable[[str], Model],
    promote: Callable[..., Promotion],
    make_verdict: Callable[..., Verdict],
) -> None:
    mine = turn()
    model = log_files("one")
    done = promote(model, "ERROR")
    assert not record_decision(ONE, make_verdict("ERROR", model[1]), done, tracking_uri=store)
    end(store, mine)
    assert turn().status == "mine"


@pytest.mark.parametrize("rival", [None, f"{NAME}/None", f"{NAME}/7"])
def test_a_pass_that_was_never_promoted_is_promoted_unless_its_rival_is_gone(
    store: str,
    run_id: str,
    turn: Callable[..., Turn],
    log_files: Callable[[str], Model],
    promote: Callable[..., Promotion],
    rival: str | None,
) -> None:
    mine = turn()
    promote(log_files("one"))
    client = MlflowClient(store)
    client.delete_registered_model_alias(NAME, "champion")
    for tag in client.get_registered_model(NAME).tags:
        client.delete_registered_model_tag(NAME, tag)
    if rival is not None:
        client.set_tag(run_id, RIVAL, rival)
    end(store, mine)
    again = turn()
    if rival == f"{NAME}/7":  # compared with another champion: that says nothing today
        assert again.status == "mine"
        return
    assert again.decided is not None
    assert again.decided.promoted
    assert client.get_registered_model(NAME).aliases == {"champion": 1}
    assert client.get_run(run_id).data.tags[KEY] == ONE


def test_names_and_servers_that_cannot_be_used(store: str, run_id: str) -> None:
    with pytest.raises(InputError, match="cannot be an alias"):
        take_turn(NAME, "v1", ONE, run_id=run_id, tracking_uri=store)
    with pytest.raises(RegistryError, match="begin a retraining"):
        take_turn(NAME, "champion", ONE, run_id=run_id, tracking_uri="http://127.0.0.1:1")


def test_files_of_a_run_and_where_people_find_them(
    store: str, run_id: str, log_files: Callable[[str], Model], promote: Callable[..., Promotion]
) -> None:
    assert champion_run(NAME, "champion", tracking_uri=store) is None
    promote(log_files("one"))
    assert champion_run(NAME, "champion", tracking_uri=store) == (1, run_id)
    write(run_id, {"data/a.json": "{}", "data/b.bin": b"two"}, store)
    assert read_file(run_id, "data/a.json", tracking_uri=store) == "{}"
    assert read_file(run_id, "data/c.json", tracking_uri=store) is None
    assert read_file("0" * 32, "data/a.json", tracking_uri=store) is None
    assert read_folder(run_id, "data", tracking_uri=store) == {"a.json": "{}", "b.bin": "two"}
    assert read_folder(run_id, "nothing", tracking_uri=store) == {}
    links = dict(run_links(run_id, {"first": "data/a.json"}, tracking_uri=store))
    assert links["MLflow run"] == run_id
    with open(links["first"]) as file:
        assert file.read() == "{}"


def write(run_id: str, files: dict[str, str | bytes], store: str) -> None:
    log_files(run_id, files, tracking_uri=store)
