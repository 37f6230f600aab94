"""The command line. Exit codes: 0 PASS, 1 FAIL, 2 wrong use or bad input, 3 INCONCLUSIVE, 4 ERROR."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from camgate import cli_pin, cli_verify
from camgate._version import __version__
from camgate.errors import CamgateError, InputError
from camgate.terminal import STYLES, console, progress

if TYPE_CHECKING:
    from camgate.gate.drilled import DrillResult
    from camgate.gate.verdict import Verdict

EPILOG = (
    "Exit codes: 0 PASS, 1 FAIL, 2 wrong use or bad input, 3 INCONCLUSIVE, 4 ERROR. "
    "New here? Run `camgate demo`."
)
app = typer.Typer(
    name="camgate",
    help="Does a vision model decide on valid pixels? Heatmap audit and promotion gate.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="Policy (YAML). Without it the default policy is used.")
]
ModelSource = Annotated[
    str,
    typer.Option(
        help="Folder of a saved Classifier, MLflow URI (models:/name@alias), or weights (with --spec)."
    ),
]
DataSource = Annotated[
    Path,
    typer.Option(help="Manifest (.csv, .parquet), COCO .json, or folder: YOLO, VOC, one sub-folder a class."),
]
DataOptions = Annotated[
    Path | None, typer.Option(help="How the data are read, and where valid pixels are (YAML).")
]
Spec = Annotated[
    Path | None,
    typer.Option(help="Facts that the model does not hold: classes, preprocessing, builder... (JSON)."),
]
AllowCode = Annotated[
    bool, typer.Option(help="Run the builder code that the model names (only for models you trust).")
]
AllowPickle = Annotated[
    bool, typer.Option(help="Load a pickled model that others logged (it runs the code in it).")
]
AuditFolder = Annotated[Path, typer.Option("--audit", help="Folder written by `camgate audit`.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that go before a command."""


@app.command()
def audit(
    model: ModelSource,
    data: DataSource,
    out: Annotated[Path, typer.Option(help="New folder for tables, pictures, verdict and report.")],
    policy: PolicyFile = None,
    data_options: DataOptions = None,
    spec: Spec = None,
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.")] = 32,
    workers: Annotated[int, typer.Option(help="Loader processes.")] = 0,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", help="Manifest column to judge by value; may be repeated."),
    ] = None,
    allow_code: AllowCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Audit a model on labelled images with valid regions, judge it, and write the evidence.

    The policy says how the audit is made. The exit code is the verdict's.
    """
    from camgate.audit.runner import audit as run_audit
    from camgate.data.reading import read_data
    from camgate.files import atomic_folder
    from camgate.gate.judge import judge
    from camgate.gate.policy import Policy
    from camgate.models.spec import ModelSpec
    from camgate.registry.flavor import resolve_model
    from camgate.report.files import write_report, write_summary, write_verdict

    terms = Policy.read(policy)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; give a new folder, nothing is ever overwritten.")
    facts = None if spec is None else ModelSpec.read(spec)
    manifest = read_data(data, data_options)
    classifier = resolve_model(model, spec=facts, allow_pickle=allow_pickle, allow_code=allow_code)
    with progress() as listener:
        result = run_audit(
            classifier,
            manifest,
            **terms.audit_options(),
            slices=slices or (),
            batch_size=batch_size,
            workers=workers,
            progress=listener,
        )
    verdict = judge(result, terms)
    with atomic_folder(out) as scratch:
        result.write_into(scratch)
        write_verdict(scratch, verdict)
        write_summary(scratch, result, verdict)
        report = write_report(scratch, result, verdict).name
    _finish(verdict, out / report, as_json)


@app.command()
def gate(audit: AuditFolder, policy: PolicyFile = None, as_json: Json = False) -> None:
    """Judge an audit by a policy. Another policy writes another verdict file; nothing is overwritten."""
    from camgate.audit.result import AuditResult
    from camgate.gate.judge import judge
    from camgate.report.files import write_report, write_verdict

    result, drill = AuditResult.load(audit), _drill_in(audit)
    verdict = judge(result, policy, drill=drill)
    write_verdict(audit, verdict)
    _finish(verdict, write_report(audit, result, verdict, drill=drill), as_json)


@app.command()
def report(audit: AuditFolder, as_json: Json = False) -> None:
    """Write the HTML report of an audit folder again, with the verdict it holds."""
    from camgate.audit.result import AuditResult
    from camgate.gate.judge import judge
    from camgate.gate.verdict import Verdict
    from camgate.report.files import write_report

    result = AuditResult.load(audit)
    held = audit / "verdict.json"
    try:
        verdict = (
            Verdict.model_validate_json(held.read_text(encoding="utf-8")) if held.is_file() else judge(result)
        )
    except ValueError as error:
        raise InputError(f"{held}: not a verdict that this version of camgate wrote.") from error
    if (verdict.model_digest, verdict.data_digest) != (result.model_digest, result.data_digest):
        raise InputError(f"{held} belongs to another audit: its model or data digest differs.")
    path = write_report(audit, result, verdict, drill=_drill_in(audit))
    if as_json:
        print(json.dumps({"report": str(path)}))
    else:
        console().print(f"report: {path}", markup=False)


@app.command()
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


def _drill_in(audit: Path) -> DrillResult | None:
    """The drill that is kept in an audit folder."""
    from camgate.gate.drilled import DrillResult

    return DrillResult.load(audit / "drill.json") if (audit / "drill.json").is_file() else None


@app.command()
def demo(
    workdir: Annotated[Path, typer.Option(help="Folder that holds all the demo makes.")] = Path("demo"),
    photos: Annotated[
        bool,
        typer.Option("--photos", help="Real photographs (OpenCV's vtest.avi), not rendered scenes."),
    ] = False,
    video: Annotated[Path | None, typer.Option(help="Path of vtest.avi, for --photos.")] = None,
    seed: Annotated[int, typer.Option(help="Of scenes and training.")] = 0,
    as_json: Json = False,
) -> None:
    """The whole story in a few minutes: a biased model is refused, an honest one becomes champion.

    Two real ZenML pipeline runs, logged to a real MLflow store, all inside --workdir; your own ZenML and
    MLflow configuration stays untouched.
    """
    from camgate.demo import run_demo

    run_demo(workdir, photos=photos, video=video, seed=seed, as_json=as_json)


for command in (cli_pin.pin_policy, cli_verify.keygen, cli_verify.verify):
    app.command()(command)


def _finish(verdict: Verdict, report: Path, as_json: bool) -> None:
    """Show a verdict and leave with its exit code."""
    from camgate.report.text import part_lines

    if as_json:
        print(json.dumps({**verdict.model_dump(mode="json"), "report": str(report)}))
        raise typer.Exit(verdict.status.exit_code)
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "value", "95 % interval", "limit", "n", "groups", "status", "reason"):
        table.add_column(column, justify="right" if column in ("value", "limit", "n", "groups") else "left")
    for check in verdict.checks:
        number = "" if check.value is None else f"{check.value:.3f}"
        interval = "" if check.low is None else f"{check.low:.3f} to {check.high:.3f}"
        limit = "" if check.limit is None else f"{'<=' if check.smaller_is_better else '>='} {check.limit:g}"
        style = STYLES[check.status.value]
        table.add_row(
            check.name,
            number,
            interval,
            limit,
            str(check.n or ""),
            str(check.groups or ""),
            f"[{style}]{check.status.value}[/]",
            check.reason,
        )
    out.print(table)
    out.print()
    for line in part_lines(verdict):
        out.print(escape(line))
    out.print(escape(verdict.sentence))
    out.print(f"[{STYLES[verdict.status.value]}]{verdict.status.value}[/]  report: {escape(str(report))}")
    raise typer.Exit(verdict.status.exit_code)


def main() -> None:
    """Entry point: errors made on purpose become one readable paragraph, without a traceback."""
    try:
        app()
    except InputError as error:
        _complain(error)
        sys.exit(2)
    except CamgateError as error:
        _complain(error)
        sys.exit(4)


def _complain(error: CamgateError) -> None:
    console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}")


if __name__ == "__main__":
    main()
