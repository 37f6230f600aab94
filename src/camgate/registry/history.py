"""Decisions about an alias, kept as tags of the registered model: MLflow itself keeps no history.

A decision is written as `intent` before the alias moves and becomes `done` after. Where the process died
between the two, `settle` closes it at the next run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from mlflow import MlflowClient

from camgate.registry import locks, times
from camgate.registry.connection import connected
from camgate.registry.evidence import compact, records

State = Literal["intent", "done", "abandoned"]


@dataclass(frozen=True)
class Decision:
    """A move of an alias, wanted or done.

    Attributes:
        time: when it was written, ISO 8601.
        version: that was to hold the alias.
        previous: version that held it then, None where none did.
        run: that holds the audit.
        state: `intent` | `done` | `abandoned`.
        owner: of the lock.
        key: of the tag.
    """

    time: str
    version: int
    previous: int | None
    run: str
    state: State
    owner: str
    key: str

    def value(self) -> str:
        """The tag's text."""
        return compact({name: value for name, value in asdict(self).items() if name != "key"})


def alias_history(
    name: str, alias: str = "champion", *, tracking_uri: str | None = None, registry_uri: str | None = None
) -> list[Decision]:
    """Every decision about an alias, the oldest first.

    Raises:
        RegistryError: no such registered model, or MLflow cannot be reached.
    """
    with connected(tracking_uri, registry_uri, doing=f"read the history of {name}@{alias}") as client:
        return decisions(client.get_registered_model(name), alias)


def decisions(model: Any, alias: str) -> list[Decision]:
    """Those among the tags of a registered model, the oldest first; unreadable ones are left out."""
    found = []
    for record in records(model.tags, _prefix(alias)):
        try:
            found.append(Decision(**record))
        except TypeError:
            continue
    return found


def intend(
    client: MlflowClient, version: Any, alias: str, *, previous: int | None, run: str, now: datetime
) -> Decision:
    """Write down that `version` is about to hold the alias."""
    owner = locks.new_owner()
    decision = Decision(
        time=times.text(now),
        version=int(version.version),
        previous=previous,
        run=run,
        state="intent",
        owner=owner,
        key=f"{_prefix(alias)}{times.stamp(now)}-{owner[:8]}",
    )
    client.set_registered_model_tag(version.name, decision.key, decision.value())
    return decision


def close(client: MlflowClient, name: str, decision: Decision, state: State) -> None:
    """Write what became of a decision."""
    client.set_registered_model_tag(name, decision.key, replace(decision, state=state).value())


def changed(model: Any, decision: Decision) -> bool:
    """Whether the registered model, as just read, holds something else under the decision's key."""
    return bool(model.tags.get(decision.key) != decision.value())


def settle(client: MlflowClient, model: Any, alias: str, *, but: Decision | None = None) -> None:
    """Close the decisions that a crash left open.

    One whose version holds the alias is done. Another is abandoned, unless its lock is still held, for then
    it may be at work.

    Args:
        client: of the registry.
        model: the registered model as just read.
        alias: in question.
        but: the caller's own decision.
    """
    holder = int(model.aliases.get(alias, 0))
    open_ones = [
        each
        for each in decisions(model, alias)
        if each.state == "intent" and (but is None or each.key != but.key)
    ]
    if not open_ones:
        return
    lock = locks.current(client, model.name, alias)
    for each in open_ones:
        if each.version == holder:
            close(client, model.name, each, "done")
        elif lock is None or lock.owner != each.owner or lock.expired(times.now()):
            close(client, model.name, each, "abandoned")


def _prefix(alias: str) -> str:
    return f"camgate.decision.{alias}."
