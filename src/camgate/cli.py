"""The command line. Exit codes: 0 PASS, 1 FAIL, 2 wrong use or bad input, 3 INCONCLUSIVE, 4 ERROR."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from camgate import cli_drill, cli_operate, cli_pin, cli_promote, cli_verify
from camgate._version import __version__
from camgate.cli_drill import drill_in
from camgate.cli_options import (
    AllowCode,
    AllowPickle,
    AuditAddress,
    AuditFolder,
    Champion,
    DataOptions,
    DataSource,
    Json,
    ModelSource,
    PolicyFile,
    Spec,
)
from camgate.cli_shards import Split, holds
from camgate.errors import CamgateError, InputError
from camgate.storage import check_new, exists, join, local_folder
from camgate.terminal import STYLES, console, log_plainly, progress

if TYPE_CHECKING:
    from camgate.audit.result import AuditResult
    from camgate.gate.measure import NoRival
    from camgate.gate.verdict import Verdict
    from camgate.models.classifier import Classifier

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


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text, as with NO_COLOR=1.")] = False,
) -> None:
    """Options that go before a command; --no-color may stand anywhere."""


@app.command()
def audit(
    model: ModelSource,
    data: DataSource,
    out: Annotated[
        str, typer.Option(help="New folder (or its URL) for tables, pictures, verdict and report.")
    ],
    policy: PolicyFile = None,
    champion: Champion = None,
    data_options: DataOptions = None,
    spec: Spec = None,
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.")] = 32,
    workers: Annotated[
        int | None, typer.Option(help="Loader processes; by default what suits the machine.")
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(help="Audit in so many shards; those that --parts holds are not done again."),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(help="Make this one only (from 0), as one of several workers; the last one merges."),
    ] = None,
    parts: Annotated[
        str | None, typer.Option(help="Folder (or its URL) that keeps finished shards, with --shards.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went.")] = False,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", help="Manifest column to judge by value; may be repeated."),
    ] = None,
    allow_code: AllowCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Audit a model on labelled images with valid regions, judge it, and write the evidence.

    The policy says how the audit is made. The exit code is the verdict's; a worker (--shard) that leaves
    shards to others ends with 0.
    """
    from camgate.audit.profile import profiled
    from camgate.audit.runner import audit as run_audit
    from camgate.data.reading import read_data
    from camgate.gate.judge import judge
    from camgate.gate.measure import NoRival
    from camgate.gate.policy import Policy
    from camgate.models.spec import ModelSpec
    from camgate.registry.flavor import resolve_model
    from camgate.report.files import write_evidence

    terms = Policy.read(policy)
    split = Split.read(shards, shard, parts)
    worker = split is not None and split.shard is not None
    if not worker or not exists(join(out, "audit.json")):  # another worker may have merged already
        check_new(out)
    facts = None if spec is None else ModelSpec.read(spec)
    manifest = read_data(data, data_options)
    rival = None if champion is None or _is_model(champion) else _rival(champion)

    def load(uri: str, facts: ModelSpec | None) -> Classifier:
        return resolve_model(uri, spec=facts, allow_pickle=allow_pickle, allow_code=allow_code)

    options = {**terms.audit_options(), "slices": slices or (), "batch_size": batch_size, "workers": workers}

    def audited(classifier: Classifier) -> AuditResult | None:
        with progress() as listener:
            if split is None:
                return run_audit(classifier, manifest, **options, progress=listener)
            return split.audit(classifier, manifest, listener, options)

    candidate = load(model, facts)
    other = load(champion, None) if champion is not None and rival is None else None
    with profiled() as times:
        result = audited(candidate)
    if profile:
        for line in times.lines():
            console(stderr=True).print(line, markup=False)
    if other is not None and other.digest() == candidate.digest():
        rival = NoRival("is_champion", "the audited model is the champion itself")
    elif other is not None:
        rival = audited(other)
        result = result if rival is not None else None
    if result is None:  # the shards of others are not finished
        if as_json:
            print(json.dumps({"status": None, "shard": shard, "shards": shards}))
        raise typer.Exit
    verdict = judge(result, terms, champion=rival)
    name = "report.html"
    try:
        check_new(out)
        with local_folder(out) as folder:
            name = write_evidence(folder, result, verdict, champion=_audit_in(rival)).name
    except InputError:
        if not worker or not holds(out, result):
            raise
    _finish(verdict, join(out, name), as_json)


@app.command()
def gate(
    audit: AuditAddress, policy: PolicyFile = None, champion: Champion = None, as_json: Json = False
) -> None:
    """Judge an audit by a policy. Another policy writes another verdict file; nothing is overwritten.

    An audit that was made with --champion is compared with that one, unless another audit folder is given.
    """
    from camgate.audit.result import AuditResult
    from camgate.gate.judge import judge
    from camgate.report.files import CHAMPION, write_judgement

    if champion is not None and _is_model(champion):
        raise InputError(f"--champion {champion}: give an audit folder (`camgate audit` takes a model, too)")
    with local_folder(audit) as folder:
        result, drill = AuditResult.load(folder), drill_in(folder)
        held = folder / CHAMPION
        rival = _rival(champion) if champion is not None else _rival(str(held)) if held.is_dir() else None
        verdict = judge(result, policy, champion=rival, drill=drill)
        page = write_judgement(folder, result, verdict, drill=drill, champion=_audit_in(rival))
    _finish(verdict, join(audit, page.name), as_json)


@app.command()
def report(
    audit: AuditFolder,
    version: Annotated[
        str | None,
        typer.Option(help="models:/name/version: show its earlier attempts and its waivers, too."),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="Public key trusted to sign waivers; CAMGATE_TRUSTED_KEYS otherwise."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the HTML report of an audit folder again, with the verdict it holds."""
    from camgate.audit.result import AuditResult
    from camgate.gate.judge import judge
    from camgate.gate.verdict import Verdict
    from camgate.report.files import CHAMPION, write_report

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
    record = None
    if version is not None:
        from camgate.registry.record import read_record

        record = read_record(version, keys=key or ())
    held = audit / CHAMPION
    champion = _audit_in(_rival(str(held))) if held.is_dir() else None
    path = write_report(audit, result, verdict, drill=drill_in(audit), record=record, champion=champion)
    if as_json:
        print(json.dumps({"report": str(path)}))
    else:
        console().print(f"report: {path}", markup=False)


def _is_model(champion: str) -> bool:
    return champion != "none" and not (Path(champion) / "audit.json").is_file()


def _audit_in(rival: AuditResult | NoRival | None) -> AuditResult | None:
    """For the report, which shows the champion's numbers where there are any."""
    from camgate.audit.result import AuditResult

    return rival if isinstance(rival, AuditResult) else None


def _rival(champion: str) -> AuditResult | NoRival:
    """The champion's audit in a folder, or that there is no champion."""
    from camgate.audit.result import AuditResult
    from camgate.gate.measure import NoRival

    if champion == "none":
        return NoRival("no_champion", "there is no champion yet")
    return AuditResult.load(Path(champion))


@app.command()
def demo(
    workdir: Annotated[Path, typer.Option(help="Folder that holds all the demo makes.")] = Path("demo"),
    photos: Annotated[
        bool,
        typer.Option("--photos", help="Real photographs (OpenCV's vtest.avi), not rendered scenes."),
    ] = False,
    video: Annotated[Path | None, typer.Option(help="Path of vtest.avi, for --photos.")] = None,
    seed: Annotated[int, typer.Option(help="Of scenes and training.")] = 0,
    stack: Annotated[
        bool,
        typer.Option("--stack", help="Run on your active ZenML stack and your MLflow, not in --workdir."),
    ] = False,
    as_json: Json = False,
) -> None:
    """The whole story in a few minutes: a biased model is refused, an honest one becomes champion.

    Two real ZenML pipeline runs, logged to a real MLflow store, all inside --workdir; your own ZenML and
    MLflow configuration stays untouched, unless you say --stack.
    """
    from camgate.demo import run_demo

    run_demo(workdir, photos=photos, video=video, seed=seed, stack=stack, as_json=as_json)


for command in (
    cli_drill.drill,
    cli_operate.retrain,
    cli_operate.monitor,
    cli_pin.pin_policy,
    cli_promote.promote,
    cli_promote.waive,
    cli_verify.keygen,
    cli_verify.verify,
):
    app.command()(command)


def _finish(verdict: Verdict, report: str, as_json: bool) -> None:
    """Show a verdict and leave with its exit code."""
    from camgate.report.text import part_lines, plain

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
    out.print(escape(plain(verdict.sentence)))
    out.print(f"[{STYLES[verdict.status.value]}]{verdict.status.value}[/]  report: {escape(str(report))}")
    raise typer.Exit(verdict.status.exit_code)


def main() -> None:
    """Entry point: errors made on purpose become one readable paragraph, without a traceback."""
    log_plainly()
    if "--no-color" in sys.argv[1:]:  # before or behind a command
        os.environ["NO_COLOR"] = "1"
        sys.argv[1:] = [word for word in sys.argv[1:] if word != "--no-color"]
    try:
        app()
    except InputError as error:
        _complain(error)
        sys.exit(2)
    except CamgateError as error:
        _complain(error)
        sys.exit(4)


def _complain(error: CamgateError) -> None:
    from camgate.report.text import plain

    said = "\n".join(map(plain, str(error).split("\n")))  # names in it may be anybody's
    console(stderr=True).print(f"[bold red]Error:[/] {escape(said)}")


if __name__ == "__main__":
    main()
