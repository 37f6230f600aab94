"""The command `drill`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from camgate.cli_options import (
    AllowCode,
    AllowPickle,
    DataOptions,
    DataSource,
    Json,
    ModelSource,
    PolicyFile,
    Spec,
)
from camgate.errors import InputError
from camgate.terminal import STYLES, console, progress

if TYPE_CHECKING:
    from camgate.gate.drilled import DrillResult


def drill(
    model: ModelSource,
    data: DataSource,
    policy: PolicyFile = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="Audit folder of this model: the drill is kept there, for `camgate gate`."),
    ] = None,
    minutes: Annotated[float, typer.Option(help="Make no more mutants after this time.")] = 10.0,
    data_options: DataOptions = None,
    spec: Spec = None,
    allow_code: AllowCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Does this gate see planted bias on my images and my network? Mutation testing of the audit.

    Shortcuts of known size are planted in copies of the model, and the copies are audited blind under the
    same policy. Exit code 0 where enough are blocked (`drill:` in the policy), 3 where the gate is too blind.
    """
    from camgate.audit.result import AuditResult
    from camgate.data.reading import read_data
    from camgate.drill.runner import run_drill
    from camgate.files import write_text
    from camgate.gate.policy import Policy
    from camgate.models.spec import ModelSpec
    from camgate.registry.flavor import resolve_model

    terms = Policy.read(policy)
    facts = None if spec is None else ModelSpec.read(spec)
    result = None if audit is None else AuditResult.load(audit)
    manifest = read_data(data, data_options)
    classifier = resolve_model(model, spec=facts, allow_pickle=allow_pickle, allow_code=allow_code)
    if result is not None and result.model_digest != classifier.digest():
        raise InputError(f"{audit} is the audit of another model.")
    with progress() as listener:
        found = run_drill(classifier, manifest, terms, minutes=minutes, progress=listener)
    if audit is not None:
        write_text(audit / "drill.json", found.to_json())
    enough = len(found.biased) >= terms.drill.min_mutants
    sees = enough and found.kills / len(found.biased) >= terms.drill.min_kill_rate
    if as_json:
        print(found.to_json())
    else:
        out = console()
        out.print(_drill_table(found))
        for warning in found.warnings:
            out.print(escape(warning))
        out.print(escape(found.sentence()))
        if audit is not None:
            out.print(
                f"kept in {audit / 'drill.json'}; judge with `camgate gate --audit {audit}`", markup=False
            )
    raise typer.Exit(0 if sees else 3)


def _drill_table(found: DrillResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stamp", "of the image", "mutant", "reliance", "lift", "gap", "verdict", "blocked by"):
        table.add_column(column, justify="right" if column in ("of the image", "reliance") else "left")
    for mutant in found.mutants:
        status = "" if mutant.status is None else mutant.status.value
        table.add_row(
            mutant.kind,
            f"{100 * mutant.area:g} %",
            f"{'neutral' if mutant.neutral else 'planted'}: {mutant.role}",
            f"{100 * mutant.reliance:.0f} points",
            "" if mutant.invalid_lift is None else f"{mutant.invalid_lift:.2f}",
            "" if mutant.background_gap is None else f"{mutant.background_gap:.2f}",
            f"[{STYLES[status]}]{status}[/]" if status else "not audited",
            ", ".join(mutant.blocked_by),
        )
    return table


def drill_in(audit: Path) -> DrillResult | None:
    """The drill that is kept in an audit folder."""
    from camgate.gate.drilled import DrillResult

    return DrillResult.load(audit / "drill.json") if (audit / "drill.json").is_file() else None
