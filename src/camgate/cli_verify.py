"""Commands that prove what is in the registry: `keygen` and `verify`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camgate.cli_options import Json
from camgate.errors import InputError
from camgate.gate.verdict import gravest
from camgate.terminal import console

if TYPE_CHECKING:
    from camgate.registry.verify import Verification


def keygen(
    out: Annotated[Path, typer.Option(help="Private key to write; the public one goes beside it, .pub.")],
    as_json: Json = False,
) -> None:
    """Make an Ed25519 key pair: CAMGATE_SIGNING_KEY signs with the one, verifiers trust the other."""
    from camgate.registry.signing import make_keys

    private, public, name = make_keys(out)
    if as_json:
        print(json.dumps({"private": str(private), "public": str(public), "key_id": name}))
        return
    console().print(
        f"{private}: keep it secret; CAMGATE_SIGNING_KEY={private} signs each verdict\n"
        f"{public}: give it to whoever verifies (camgate verify --key {public})\nkey {name}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def verify(
    uri: Annotated[str | None, typer.Argument(help="models:/name@alias or models:/name/version.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every registered model that has the alias.")] = False,
    alias: Annotated[str, typer.Option(help="With --all.")] = "champion",
    key: Annotated[
        list[Path] | None, typer.Option(help="Public key that is trusted; CAMGATE_TRUSTED_KEYS otherwise.")
    ] = None,
    allow_unsigned: Annotated[bool, typer.Option(help="A statement without signature is enough.")] = False,
    policy: Annotated[
        Path | None, typer.Option(help="Policy (YAML) that must have judged; the pinned one otherwise.")
    ] = None,
    max_age_days: Annotated[float | None, typer.Option(help="Oldest verdict that is accepted.")] = None,
    as_json: Json = False,
) -> None:
    """Prove that what an alias points to was audited: exit 0 only if everything holds.

    Prints version and digest: deploy that version, not the alias, which may move. Needs read rights only and
    runs none of the model's code. Exit codes: 0 holds, 1 does not, 2 wrong use, 3 cannot be known (not
    signed, no trusted key, no pinned policy, nothing that has the alias).
    """
    from camgate.gate.policy import Policy
    from camgate.registry.verify import verify as verify_one
    from camgate.registry.verify import verify_all

    if every == (uri is not None):
        raise InputError("give either one models:/name@alias or --all")
    if every and policy is not None:
        raise InputError("--policy is for one model; with --all each is held against its pinned policy")
    age = None if max_age_days is None else timedelta(days=max_age_days)
    keys = key or []
    if uri is not None:
        expected = None if policy is None else Policy.read(policy).digest()
        found = [
            verify_one(uri, keys=keys, allow_unsigned=allow_unsigned, policy_digest=expected, max_age=age)
        ]
    else:
        found = verify_all(keys=keys, allow_unsigned=allow_unsigned, max_age=age, alias=alias)
    status = gravest(each.status for each in found)
    if as_json:
        print(json.dumps({"status": str(status), "models": [each.to_dict() for each in found]}))
    else:
        for each in found:
            _tell(each)
        if not found:
            said = f"{status}  no registered model has the alias {alias}, so nothing was proven"
            console().print(said, markup=False)
    raise typer.Exit(status.exit_code)


def _tell(found: Verification) -> None:
    from camgate.report.text import plain

    lines = [f"{found.status}  {found.uri}", f"digest {found.digest or 'unknown'}"]
    lines += [f"  {proof.status:<12} {proof.name}: {proof.message}" for proof in found.proofs]
    # Whoever writes tags must not write to this terminal.
    console().print("\n".join(map(plain, lines)), markup=False, highlight=False, soft_wrap=True)
