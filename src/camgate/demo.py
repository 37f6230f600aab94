"""The demo: two accurate models, one of them for the wrong reason, through the whole pipeline."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from camgate._version import __version__
from camgate.demo_stores import configured_stores, own_environment, own_stores, quiet_environment
from camgate.errors import InputError
from camgate.files import atomic_folder
from camgate.terminal import STYLES, Listener, console, progress

if TYPE_CHECKING:
    from camgate.pipelines.running import RunOutcome

EXPERIMENT = "camgate-demo"
PER_CLASS = {"train": 320, "test": 110}
STRENGTH = 0.97
EPOCHS = 8
SHOWN = (
    "invalid_activation_label_mean",
    "invalid_activation_label_ci_low",
    "invalid_activation_label_ci_high",
    "background_gap",
    "background_gap_ci_low",
    "background_gap_ci_high",
)
COLUMNS = "model", "accuracy", "invalid activation", "background gap", "verdict", "reason", "registry"


@dataclass(frozen=True)
class Candidate:
    """One of the demo's two models.

    Attributes:
        key: folder name.
        title: what distinguishes it, for the table.
    """

    key: str
    title: str


@dataclass(frozen=True)
class Story:
    """Which two candidates, and under which name they are registered."""

    model_name: str
    biased: Candidate
    honest: Candidate
    opening: str


SCENES = Story(
    "underpass-camera",
    Candidate("graffiti", "A: graffiti goes with the class"),
    Candidate("random-graffiti", "B: the same graffiti at random"),
    "Rendered scenes of a pedestrian underpass: empty, pedestrian, dog walker, bicyclist. Graffiti on the "
    f"wall goes with the class in {100 * STRENGTH:.0f} % of candidate A's images and falls at random in B's.",
)
PHOTOS = Story(
    "walkway-camera",
    Candidate("walkway-place", "A: the place gives the class away"),
    Candidate("walkway", "B: empty and busy windows from the same places"),
    "Photographs of a campus walkway. Candidate A's empty windows are cut where nobody ever walks, so the "
    "place gives the class away; candidate B's are cut where people walk.",
)


def run_demo(
    workdir: Path,
    *,
    photos: bool = False,
    video: Path | None = None,
    seed: int = 0,
    stack: bool = False,
    as_json: bool = False,
) -> list[dict[str, Any]]:
    """Make the data, run the training pipeline for both candidates, and show what became of them.

    Args:
        workdir: holds all that the demo makes, and the user's own ZenML and MLflow settings stay untouched,
            unless `stack`.
        photos: real photographs instead of rendered scenes.
        video: OpenCV's `vtest.avi`, for `photos`.
        seed: of scenes and training.
        stack: run on the active ZenML stack and its MLflow (or that of MLFLOW_TRACKING_URI); only data and
            reports are in `workdir` then.
        as_json: print one JSON list instead of a table.

    Returns:
        One row per candidate.

    Raises:
        InputError: `workdir` cannot be used, the video is not there, or `stack` without an MLflow.
    """
    started = time.monotonic()
    root = Path(workdir).resolve()
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; give a folder with --workdir.")
    root.mkdir(parents=True, exist_ok=True)
    if not stack:
        own_environment(root)
    quiet_environment()
    story = PHOTOS if photos else SCENES
    say = console(stderr=as_json)
    say.print(f"[bold]camgate demo[/]  {escape(story.opening)}\n")
    stores = configured_stores() if stack else None
    data = _make_data(root, story, photos, video, seed)
    where = stores or own_stores(root, EXPERIMENT)
    rows = []
    for candidate in (story.biased, story.honest):
        say.print(f"[bold]{escape(candidate.title)}[/]")
        outcome = _run(candidate, data[candidate.key], story, seed)
        rows.append(_row(root, candidate, outcome))
        _echo(say, rows[-1])
    if as_json:
        print(json.dumps(rows, indent=2))
    _show(say, rows, where)
    say.print(f"  took {time.monotonic() - started:.0f} s; the files lie in {escape(str(root))}")
    return rows


def _make_data(root: Path, story: Story, photos: bool, video: Path | None, seed: int) -> dict[str, Path]:
    folders = {candidate.key: root / "data" / candidate.key for candidate in (story.biased, story.honest)}
    # Kept from an earlier run with the same seed; made complete or not at all, so what is there is whole.
    made_by = {"version": __version__, "seed": seed, "per_class": PER_CLASS, "strength": STRENGTH}
    wanted = json.dumps({**made_by, "photos": photos})
    for key, folder in folders.items():
        mark = folder / "demo.json"
        if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        with progress() as listener, atomic_folder(folder) as scratch:
            if photos:
                _cut(scratch, video, key == story.biased.key, seed, listener)
            else:
                _render(scratch, key == story.biased.key, seed, listener)
            (scratch / "demo.json").write_text(wanted, encoding="utf-8")
    return folders


def _render(folder: Path, biased: bool, seed: int, listener: Listener) -> None:
    from camgate.scenes.dataset import write_scenes

    write_scenes(
        folder,
        per_class=PER_CLASS,
        shortcut="tag",
        strength=STRENGTH if biased else 0.0,
        seed=seed + int(biased),
        progress=lambda done, total: listener("rendering scenes", done, total),
    )


def _cut(folder: Path, video: Path | None, biased: bool, seed: int, listener: Listener) -> None:
    from camgate.scenes.walkway import cut_windows, find_video

    cut_windows(
        find_video(video),
        folder,
        place=biased,
        seed=seed,
        progress=lambda done, total: listener("cutting windows", done, total),
    )


def _run(candidate: Candidate, data: Path, story: Story, seed: int) -> RunOutcome:
    from camgate.pipelines.running import run_training

    with progress("  ") as listener:
        return run_training(
            data=str(data / "manifest.csv"),
            model_name=story.model_name,
            experiment=EXPERIMENT,
            training={"seed": seed, "epochs": EPOCHS},
            progress=listener,
        )


def _row(root: Path, candidate: Candidate, outcome: RunOutcome) -> dict[str, Any]:
    """Keep the evidence as a folder and sum the outcome up in one flat row."""
    from camgate.audit.summary import summarise
    from camgate.report.files import write_evidence

    folder = root / "audits" / f"{candidate.key}-{outcome.pipeline_run_id[:8]}"
    report = write_evidence(folder, outcome.result, outcome.verdict)
    numbers = summarise(outcome.result)
    promotion = outcome.promotion
    failed = [check.name for check in outcome.verdict.checks if check.status is outcome.verdict.status]
    reason = outcome.verdict.reason
    return {
        "model": candidate.title,
        "accuracy": numbers["accuracy"],
        **{name: numbers.get(name) for name in SHOWN},
        "verdict": outcome.verdict.status.value,
        "reason": reason if reason == "ok" else f"{', '.join(failed)}: {reason}",
        "version": None if promotion is None else promotion.version,
        "validation_status": None if promotion is None else promotion.status,
        "alias": promotion.alias if promotion and promotion.status == "approved" else None,
        "sentence": outcome.verdict.sentence,
        "report": str(report),
        "mlflow_run_id": outcome.mlflow_run_id,
    }


def _echo(say: Any, row: dict[str, Any]) -> None:
    style = STYLES[row["verdict"]]
    say.print(f"  [{style}]{row['verdict']}[/]  {escape(row['sentence'])}\n")


def _show(say: Any, rows: list[dict[str, Any]], stores: dict[str, str]) -> None:
    table = Table(
        title="What became of two accurate models", title_justify="left", box=None, header_style="bold"
    )
    for column in (
        "model",
        "accuracy",
        "invalid activation",
        "background gap",
        "verdict",
        "reason",
        "registry",
    ):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row["model"],
            f"{100 * row['accuracy']:.1f} %",
            _interval(row, "invalid_activation_label_mean", "invalid_activation_label"),
            _interval(row, "background_gap", "background_gap"),
            f"[{STYLES[row['verdict']]}]{row['verdict']}[/]",
            row["reason"],
            f"v{row['version']} {row['validation_status']}" + (f", @{row['alias']}" if row["alias"] else ""),
        )
    say.print(table)
    say.print()
    say.print("Where to look next", style="bold")
    for row in rows:
        say.print(f"  report of {row['model'][:1]}: {escape(row['report'])}")
    for name, where in stores.items():
        say.print(f"  {f'{name}:':<12} {escape(where)}")


def _interval(row: dict[str, Any], value: str, name: str) -> str:
    if row[value] is None:
        return "not measured"
    return f"{row[value]:z.2f} [{row[f'{name}_ci_low']:z.2f}, {row[f'{name}_ci_high']:z.2f}]"
