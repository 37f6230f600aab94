"""Step: is there anything to retrain on, whose turn is it, and do the data resemble the champion's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from zenml import step

from camgate._version import __version__
from camgate.data.manifest import data_digest
from camgate.errors import CamgateError
from camgate.gate.policy import Policy
from camgate.gate.verdict import Status
from camgate.materializers.sources import pin
from camgate.models.weights import file_sha256
from camgate.operate.drift import Drift, DriftLimits, compare_data, drift_table
from camgate.operate.options import read_options
from camgate.operate.plans import Plan
from camgate.operate.statistics import DataStatistics, data_statistics
from camgate.registry.files import log_files, log_numbers, read_file, tag_run
from camgate.registry.retraining import (
    LEASE,
    Turn,
    busy_sentence,
    champion_run,
    end_turn,
    retraining_key,
    take_turn,
)
from camgate.steps._tracking import TrackedRun, tracked, tracking_server

STATISTICS = "data/statistics.json"
"""In the run of a retraining: what its data look like, for the next one to compare with."""
_log = logging.getLogger(__name__)


@step(enable_cache=False)
def plan_retraining(
    manifest: pd.DataFrame,
    name: str,
    alias: str = "champion",
    policy: str | dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    drift: dict[str, Any] | None = None,
    code_version: str = "",
    lease_hours: float = LEASE / 3600,
    experiment: str | None = None,
) -> Annotated[Plan, "plan"]:
    """Decide whether to train: not twice on the same, not while another does, not on data that drifted.

    Where the plan has an `owner`, the lock of the retraining is held, and whoever called must give it back:
    `camgate.steps.plan.give_back`. Never cached.

    Args:
        manifest: the data, see `load_data`.
        name: registered model in MLflow.
        alias: that the champion holds.
        policy: path of a YAML file, or its content; None takes the default policy.
        options: of training, audit, champion and drill: all else that the decision depends on.
        drift: see `camgate.operate.drift.DriftLimits`.
        code_version: of your own code, such as the commit; another one makes the same data new.
        lease_hours: after which another retraining may take this one for dead; longer than a training lasts.
        experiment: MLflow experiment; by default the pipeline's name.

    Raises:
        InputError: an option that cannot be used.
        RegistryError: MLflow cannot be reached.
    """
    limits = read_options(DriftLimits, drift, "drift")
    digest = data_digest(manifest)
    key = retraining_key(
        data=digest,
        name=name,
        alias=alias,
        policy=Policy.read(policy).digest(),
        options=_with_weights(options or {}),
        code=[__version__, torch.__version__, code_version],
    )
    with tracked(experiment) as run:
        turn = take_turn(
            name, alias, key, run_id=run.run_id, seconds=3600 * lease_hours, tracking_uri=run.uri
        )
        if turn.status != "mine":
            plan = _idle(turn, key, name)
        else:
            try:
                found = _compared(manifest, digest, name, alias, limits, run)
            except BaseException:
                give_back(name, alias, turn.owner)
                raise
            action = "drifted" if found.blocks else "train"
            plan = Plan(action=action, key=key, sentence=found.sentence, owner=turn.owner, drift=found)
        tag_run(
            run.run_id, {"camgate.plan": plan.action, "camgate.sentence": plan.sentence}, tracking_uri=run.uri
        )
    return plan


def give_back(name: str, alias: str, owner: str) -> None:
    """Let the next retraining begin. A failure is logged: the decision stands, the lock ends by itself."""
    try:
        with tracking_server() as uri:
            end_turn(name, alias, owner, tracking_uri=uri)
    except CamgateError as error:
        _log.warning("The lock of the retraining of %s could not be given back: %s", name, error)


def _compared(
    manifest: pd.DataFrame, digest: str, name: str, alias: str, limits: DriftLimits, run: TrackedRun
) -> Drift:
    """Look the data through, compare them with the champion's, and keep both in the run."""
    new = data_statistics(manifest, data_digest=digest)
    champion = champion_run(name, alias, tracking_uri=run.uri)
    text = None if champion is None else read_file(champion[1], STATISTICS, tracking_uri=run.uri)
    found = compare_data(new, None if text is None else DataStatistics.from_json(text), limits)
    files: dict[str, str | bytes] = {
        STATISTICS: new.model_dump_json(),
        "data/drift.json": found.model_dump_json(indent=2),
        "data/drift.md": drift_table(found),
    }
    log_files(run.run_id, files, tracking_uri=run.uri)
    log_numbers(run.run_id, found.metrics(), prefix="drift/", tracking_uri=run.uri)
    return found


def _idle(turn: Turn, key: str, name: str) -> Plan:
    if turn.decided is None:
        return Plan(action="busy", key=key, sentence=busy_sentence(name, turn.until))
    decided = turn.decided
    said = f" {decided.sentence}" if decided.sentence else ""
    return Plan(
        action="nothing_new",
        key=key,
        sentence=f"Nothing new: version {decided.version} of {name} was made of the same data and code, and "
        f"the decision stands ({decided.verdict}).{said}",
        version=decided.version,
        verdict=Status(decided.verdict),
        reason=decided.reason,
        promoted=decided.promoted,
        run_id=decided.run_id,
    )


def _with_weights(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the content of a file of weights beside its name."""
    weights = (options.get("training") or {}).get("weights")
    if weights is None or not Path(weights).is_file():
        return options
    return options | {"weights_sha256": file_sha256(Path(weights))}


pin(Plan)
pin(plan_retraining.entrypoint)
