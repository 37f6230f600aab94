"""Commands that act on a registered version: `promote`, and `waive`, by which a person accepts a FAIL."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from camgate.cli_options import Json
from camgate.errors import InputError
from camgate.terminal import console


def promote(
    uri: Annotated[str, typer.Argument(help="models:/name/version or models:/name@alias.")],
    to: Annotated[
        str | None, typer.Option(help="Registered model that receives a copy; the version itself otherwise.")
    ] = None,
    alias: Annotated[str, typer.Option(help="To move.")] = "champion",
    key: Annotated[
        list[Path] | None,
        typer.Option(help="Public key trusted to sign waivers; CAMGATE_TRUSTED_KEYS otherwise."),
    ] = None,
    max_age_days: Annotated[float | None, typer.Option(help="Oldest verdict that is accepted.")] = None,
    as_json: Json = False,
) -> None:
    """Move an alias to a version that carries its evidence, on PASS or under a waiver.

    Exit codes: 0 the alias points there now, 1 refused, 2 wrong use, 4 MLflow cannot be reached.
    """
    from camgate.registry.promotion import promote_copy
    from camgate.report.text import plain

    done = promote_copy(
        uri,
        name=to,
        alias=alias,
        keys=key or (),
        max_age=None if max_age_days is None else timedelta(days=max_age_days),
    )
    if as_json:
        print(json.dumps(asdict(done)))
    else:
        console().print(plain(done.sentence), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if done.alias_moved else 1)


def waive(
    uri: Annotated[str, typer.Argument(help="models:/name/version; its verdict must be FAIL.")],
    person: Annotated[str, typer.Option(help="Who accepts it.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    check: Annotated[list[str], typer.Option(help="Check whose FAIL is accepted; name each one.")],
    until: Annotated[str, typer.Option(help="Last day on which it holds (UTC), yyyy-mm-dd.")],
    key: Annotated[
        Path | None, typer.Option(help="Private key that signs; CAMGATE_SIGNING_KEY otherwise.")
    ] = None,
    also_for: Annotated[
        list[str] | None, typer.Option(help="Registered model in which a copy may hold an alias, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Accept by signature, until a day, that a version fails certain checks.

    The policy must allow it (`waivers:`). Nothing moves: `camgate promote` does, or the next pipeline run.
    Report, tags and `camgate verify` show the waiver until it ends.
    """
    from camgate.registry.waiving import waive as sign
    from camgate.report.text import plain

    try:
        end = datetime.strptime(until, "%Y-%m-%d").date()
    except ValueError as error:
        raise InputError(f"--until {until}: give a day as yyyy-mm-dd") from error
    waiver = sign(
        uri, person=person, reason=reason, checks=check, until=end, key=key, also_for=also_for or ()
    )
    if as_json:
        print(json.dumps(waiver.to_dict()))
        return
    for line in (f"{waiver.version}: {waiver.sentence()}", f"next: camgate promote {waiver.version}"):
        console().print(plain(line), markup=False, highlight=False, soft_wrap=True)
