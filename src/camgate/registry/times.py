"""Times as the registry keeps them: UTC, to the microsecond, as text that sorts."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def text(time: datetime) -> str:
    """ISO 8601 in UTC, ends in `Z`."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def minute(time: datetime) -> str:
    """For people: `yyyy-mm-dd hh:mm UTC`."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def stamp(time: datetime) -> str:
    """The same as a part of a tag's key: `yyyymmddThhmmssffffff`."""
    return time.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")


def parse(written: str | None) -> datetime | None:
    """The time that `text` wrote; a time without a zone is UTC; None for anything else."""
    try:
        time = datetime.fromisoformat(written or "")
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
