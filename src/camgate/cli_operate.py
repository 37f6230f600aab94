"""Commands of production, made to be run on a schedule: `retrain` and `monitor`."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from camgate.cli_options import Json
from camgate.errors import InputError
from camgate.terminal import console, progress

Config = Annotated[
    Path, typer.Option("--config", help="Run configuration (YAML) with the pipeline's `parameters:`.")
]
Data = Annotated[str | None, typer.Option("--data", help="Other data than the configuration's.")]
Name = Annotated[
    str | None, typer.Option("--model-name", help="Another registered model than the configuration's.")
]


def retrain(
    config: Config,
    data: Data = None,
    model_name: Name = None,
    code_version: Annotated[
        str | None, typer.Option(help="Of your own code, such as the commit; another one makes data new.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Retrain on new data and let the gate decide, by ZenML's pipeline on the active stack.

    The same data, options, policy and code give the same decision, and nothing is trained. Exit codes: 0 PASS
    and promoted, 1 blocked, 2 wrong use or faulty data, 3 INCONCLUSIVE, drifted data that block, or another
    retraining at work, 4 ERROR.
    """
    from camgate.pipelines.operating import run_retraining
    from camgate.pipelines.retraining import retraining_pipeline

    given = {"data": data, "model_name": model_name, "code_version": code_version}
    parameters = _parameters(config, given, retraining_pipeline.entrypoint)
    with progress() as listener:
        done = run_retraining(progress=listener, **parameters)
    facts = {
        "action": done.action,
        "verdict": done.verdict,
        "version": done.version,
        "promoted": done.promoted,
        "sentence": done.sentence,
        "drift": None if done.plan.drift is None else done.plan.drift.model_dump(mode="json"),
        "promotion": None if done.promotion is None else asdict(done.promotion),
        "deliveries": [each.model_dump(mode="json") for each in done.deliveries],
        "mlflow_run_id": done.mlflow_run_id,
        "key": done.plan.key,
    }
    drift = done.plan.drift
    notes = [drift.sentence] if drift is not None and drift.status == "drifted" else []
    _end(facts, [done.sentence, *notes], done.exit_code, as_json)


def monitor(config: Config, data: Data = None, model_name: Name = None, as_json: Json = False) -> None:
    """Audit the champion again on fresh images, chart it over time, and raise an alarm when it drifts.

    The same images are audited once. Exit codes: 0 in control, 1 an alarm, a champion that does not verify or
    FAIL, 2 wrong use or faulty data, 3 INCONCLUSIVE, 4 ERROR.
    """
    from camgate.pipelines.monitoring import monitoring_pipeline
    from camgate.pipelines.operating import run_monitoring

    parameters = _parameters(config, {"data": data, "model_name": model_name}, monitoring_pipeline.entrypoint)
    with progress() as listener:
        done = run_monitoring(progress=listener, **parameters)
    facts = {
        "action": done.action,
        "sentence": done.sentence,
        "uri": done.watch.uri,
        "proof": done.watch.proof,
        "verdict": None if done.verdict is None else done.verdict.status,
        "watched": None if done.watched is None else done.watched.model_dump(mode="json"),
    }
    judged = [] if done.verdict is None else [f"On the fresh images: {done.verdict.sentence}"]
    _end(facts, [done.sentence, *judged], done.exit_code, as_json)


def _parameters(config: Path, given: Mapping[str, Any], pipeline: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a run configuration, those on the command line first.

    Raises:
        InputError: the file cannot be read, or names a parameter that the pipeline does not have.
    """
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{config}: the run configuration cannot be read ({error}).") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{config}: no YAML ({' '.join(str(error).split())}).") from error
    held = content.get("parameters") if isinstance(content, Mapping) else None
    if not isinstance(held, Mapping):
        raise InputError(f"{config}: a mapping with the key `parameters` is expected.")
    known = list(inspect.signature(pipeline).parameters)
    for key in held:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            raise InputError(f"{config}, parameters.{key}: no such parameter; {hint}")
    wanted = {**held, **{name: value for name, value in given.items() if value is not None}}
    missing = [
        name
        for name, each in inspect.signature(pipeline).parameters.items()
        if each.default is inspect.Parameter.empty and wanted.get(name) is None
    ]
    if missing:
        raise InputError(f"{config}: parameters.{missing[0]} is missing.")
    return wanted


def _end(facts: dict[str, Any], lines: list[str], code: int, as_json: bool) -> None:
    from camgate.report.text import plain

    if as_json:
        print(json.dumps(facts, default=str))
    for line in () if as_json else lines:
        console().print(plain(line), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
