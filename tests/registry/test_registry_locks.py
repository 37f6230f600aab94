from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from camgate.registry import locks, times
from camgate.registry.locks import LockHeldError, acquire, current, lock_name, new_owner, release

NAME = "underpass"


@pytest.fixture
def client(store: str) -> MlflowClient:
    made = MlflowClient(store)
    made.create_registered_model(NAME)
    return made


def take(client: MlflowClient, seconds: float = 60, owner: str | None = None) -> locks.Lock:
    return acquire(client, NAME, "champion", owner=owner or new_owner(), seconds=seconds)


def entries(client: MlflowClient) -> set[str]:
    return {each.name for each in client.search_registered_models()} - {NAME}


def test_one_holds_it_and_the_other_is_told_until_when(client: MlflowClient) -> None:
    mine = take(client)
    assert entries(client) == {"camgate-lock--underpass--champion"}
    with pytest.raises(LockHeldError, match="until 20") as held:
        take(client)
    assert held.value.lock.owner == mine.owner
    acquire(client, NAME, "challenger", owner=new_owner(), seconds=60)  # of another alias
    release(client, mine)
    assert entries(client) == {"camgate-lock--underpass--challenger"}
    take(client)


def test_a_lost_answer_does_not_lock_its_owner_out(client: MlflowClient) -> None:
    owner = new_owner()
    assert take(client, owner=owner).owner == take(client, owner=owner).owner


def test_a_stale_lock_is_broken_with_a_record(client: MlflowClient) -> None:
    stale = take(client, seconds=-1)
    mine = take(client)
    found = current(client, NAME, "champion")
    assert found is not None
    assert found.owner == mine.owner
    tags = client.get_registered_model(NAME).tags
    (record,) = (key for key in tags if key.startswith("camgate.broken_lock."))
    assert stale.owner in tags[record]
    release(client, stale)  # too late: it is not its own any more
    assert current(client, NAME, "champion") == found
    release(client, mine)
    assert not entries(client)


def test_who_comes_late_to_a_stale_lock_does_not_break_the_next_one(client: MlflowClient) -> None:
    """Two see the same stale lock; one has broken it and holds its own before the other acts."""
    take(client, seconds=-1)
    seen = current(client, NAME, "champion")
    assert seen is not None
    mine = take(client)
    assert locks._put_aside(client, NAME, seen) is None
    held = current(client, NAME, "champion")
    assert held is not None
    assert held.owner == mine.owner


def test_of_many_at_once_one_gets_it(client: MlflowClient, store: str) -> None:
    take(client, seconds=-1)
    got: list[str] = []

    def go() -> None:
        with suppress(LockHeldError, MlflowException):  # sqlite itself may be busy
            got.append(take(MlflowClient(store)).owner)

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = current(client, NAME, "champion")
    assert held is not None
    assert got == [held.owner]


def test_a_lock_that_cannot_be_removed_ends_by_itself(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mine = take(client)

    def broken(*_: object) -> None:
        raise MlflowException("gone")

    monkeypatch.setattr(MlflowClient, "delete_registered_model", broken)
    release(client, mine)
    assert "ends by itself" in caplog.text
    assert current(client, NAME, "champion") is not None


@pytest.mark.parametrize("tags", [{}, {"expires": "soon", "owner": "?"}])
def test_a_lock_without_readable_end_lasts_as_long_as_any(client: MlflowClient, tags: dict[str, str]) -> None:
    client.create_registered_model(lock_name(NAME, "champion"), tags=tags)
    held = current(client, NAME, "champion")
    assert held is not None
    left = held.expires - times.now()
    assert timedelta(seconds=locks.DEFAULT_SECONDS - 60) < left <= timedelta(seconds=locks.DEFAULT_SECONDS)
    with pytest.raises(LockHeldError):
        take(client)


def test_whether_it_is_still_ours(client: MlflowClient) -> None:
    mine = take(client)
    assert locks.holds(client, NAME, "champion", mine, 60)
    assert not locks.holds(client, NAME, "champion", mine, 6000)  # it may end within one write
    release(client, mine)
    assert not locks.holds(client, NAME, "champion", mine, 60)


def test_an_owner_is_nobody_else(client: MlflowClient) -> None:
    make: Callable[[], str] = new_owner
    assert len({make() for _ in range(100)}) == 100
