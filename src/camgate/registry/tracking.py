"""What a run holds: parameters, data, metrics, files and pictures. Each function is told which run.

`open_run` and `finish_run` are in `camgate.registry.runs` and are doors of this module too.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from camgate.audit.result import AuditResult
from camgate.audit.summary import summarise
from camgate.data.manifest import audited_rows
from camgate.errors import RegistryError
from camgate.gate.drilled import DrillResult
from camgate.gate.judge import OPENINGS
from camgate.gate.policy import Policy
from camgate.gate.verdict import Status, Verdict
from camgate.models.evaluation import Evaluation
from camgate.registry import names
from camgate.registry.connection import connected
from camgate.registry.pictures import gallery_pictures
from camgate.registry.runs import finish_run, open_run, run_below

__all__ = [
    "audit_metrics",
    "audit_run",
    "finish_run",
    "log_audit",
    "log_audited",
    "log_data",
    "log_drill",
    "log_evaluation",
    "log_parameters",
    "log_training",
    "log_verdict",
    "open_run",
    "verdict_metrics",
]

_CLAIM = "camgate.audit"  # parameter that says for which audit the run is
_AUDIT_MARK = "camgate.audit"  # tag that says which audit it holds already
_NOTE = "mlflow.note.content"  # the run's description
_ROWS = 1000  # of the table that MLflow shows
_SHOWN = (
    "image_id",
    "label",
    "predicted",
    "confidence",
    "invalid_activation",
    "invalid_lift",
    "status",
    "group",
)
_BATCH = 100  # parameters and tags that MLflow takes at once


def log_parameters(
    run_id: str, values: Mapping[str, Any], *, prefix: str = "", tracking_uri: str | None = None
) -> None:
    """Log parameters, nested ones with dots. Values beyond 6000 characters are cut and end in `...`.

    Raises:
        RegistryError: the run already holds another value for one of them, or MLflow fails.
    """
    with connected(tracking_uri, doing=f"log parameters to run {run_id}") as client:
        _parameters(client, run_id, values, prefix)


def log_data(
    run_id: str,
    manifest: pd.DataFrame,
    digest: str,
    *,
    name: str = "manifest",
    context: str | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Log a manifest as a dataset input of the run.

    Args:
        run_id: where to.
        manifest: validated rows; counts by split and label go along, the images themselves do not.
        digest: `camgate.data.digest.data_digest` of it. MLflow shows 36 characters; all are in the tag
            `camgate.data_digest` of the input.
        name: of the dataset.
        context: what it was used for; None names the splits among the rows (`test, train`).
        tracking_uri: None takes MLflow's own.
    """
    columns = [{"type": "string", "name": str(column), "required": True} for column in manifest.columns]
    counts: dict[str, Any] = {"num_rows": len(manifest)}
    for column in ("split", "label"):
        if column in manifest:
            counts[f"by_{column}"] = {str(k): int(v) for k, v in manifest[column].value_counts().items()}
    dataset = Dataset(
        name=names.shortened(name, 500),
        digest=digest[:36],
        source_type="local",
        source=json.dumps({"uri": _common_folder(manifest)}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(counts),
    )
    if context is None:
        splits = sorted({str(split) for split in manifest.get("split", ())})
        context = names.shortened(", ".join(splits) or "all rows", 500)
    tags = [InputTag("mlflow.data.context", context), InputTag("camgate.data_digest", digest)]
    with connected(tracking_uri, doing=f"log the data to run {run_id}") as client:
        client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def log_training(
    run_id: str, parameters: Mapping[str, Any], history: pd.DataFrame, *, tracking_uri: str | None = None
) -> None:
    """Log a training: parameters `training.*`, and the history as metrics `training/*`, step = epoch.

    Args:
        run_id: where to.
        parameters: `TrainingResult.parameters`, or those of another trainer.
        history: one row an epoch; a column `epoch` is the step, the other columns of numbers are metrics.
        tracking_uri: None takes MLflow's own.
    """
    with connected(tracking_uri, doing=f"log the training to run {run_id}") as client:
        _parameters(client, run_id, parameters, "training.")
        now = _now()
        batch = [
            Metric(key, value, now, int(row.get("epoch", number)))
            for number, row in enumerate(history.to_dict("records"), start=1)
            for key, value in names.metrics(
                {str(k): v for k, v in row.items() if k != "epoch"}, "training/"
            ).items()
        ]
        for part in _parts(batch, 1000):
            client.log_batch(run_id, metrics=part)


def log_evaluation(run_id: str, evaluation: Evaluation, *, tracking_uri: str | None = None) -> None:
    """Log metrics `evaluation/*` and the files ``evaluation/``: per class, confusions and their picture.

    Of more than `TRACKED` classes the metrics are quantiles only, see `Evaluation.metrics`.
    """
    with connected(tracking_uri, doing=f"log the evaluation to run {run_id}") as client, _scratch() as folder:
        for part in _parts(_metrics(evaluation.metrics()), 1000):
            client.log_batch(run_id, metrics=part)
        evaluation.per_class.to_csv(folder / "per_class.csv", index=False)
        evaluation.confusion.to_csv(folder / "confusion.csv", index=False)
        (folder / "confusion.png").write_bytes(evaluation.confusion_picture())
        client.log_artifacts(run_id, str(folder), "evaluation")


def audit_run(run_id: str, result: AuditResult, *, tracking_uri: str | None = None) -> str:
    """The run that holds this audit, or will: `run_id`, unless that holds another audit already.

    A run has one value of each parameter and so one audit: the first that claims it. A pipeline that audits
    two models (the candidate and today's champion), at once or not, has the other audit in a run of its own
    below `run_id`.

    Raises:
        RegistryError: MLflow fails.
    """
    mark = _mark(result)
    with connected(tracking_uri, doing=f"claim run {run_id} for an audit") as client:
        if _claimed(client, run_id, mark):
            return run_id
    return run_below(run_id, key=f"{run_id}:{mark[:16]}", tracking_uri=tracking_uri)


def _claimed(client: MlflowClient, run_id: str, mark: str) -> bool:
    """Whether the run is for this audit. MLflow never changes a parameter, so the first claim stands."""
    held = client.get_run(run_id).data
    owner = held.params.get(_CLAIM) or held.tags.get(_AUDIT_MARK)
    if owner is None:
        try:
            client.log_param(run_id, _CLAIM, mark)
        except MlflowException:  # another step was faster, or MLflow fails
            owner = client.get_run(run_id).data.params.get(_CLAIM)
            if owner is None:
                raise
    return owner in {None, mark}


def log_audit(
    run_id: str,
    result: AuditResult,
    verdict: Verdict | None = None,
    *,
    folder: str | Path | None = None,
    pictures: int = 24,
    tracking_uri: str | None = None,
) -> str:
    """Log an audit: settings as parameters `audit.*`, metrics `audit/*`, the folder, pictures, tags.

    A second call with the same audit adds the verdict and the files of `folder`, and repeats nothing.

    Args:
        run_id: where to, see `audit_run`.
        result: the audit.
        verdict: tags the run; ``audit/verdict.json`` where no `folder` has it.
        folder: files that join the audit in ``audit/`` (report, verdict), or all of it where it was saved
            already. An audit that is neither there nor in the run is saved for the purpose.
        pictures: at most so many in the run's image view, worst and sample in equal parts (keys
            ``audit/worst`` and ``audit/sample``, step = rank). The table view has the worst rows.
        tracking_uri: None takes MLflow's own.

    Returns:
        Id of the run that holds the audit.
    """
    run_id = audit_run(run_id, result, tracking_uri=tracking_uri)
    mark = _mark(result)
    with connected(tracking_uri, doing=f"log the audit to run {run_id}") as client, _scratch() as scratch:
        known = client.get_run(run_id).data.tags.get(_AUDIT_MARK) == mark
        source = scratch / "audit"
        source.mkdir()
        if not known and (folder is None or not (Path(folder) / "audit.json").is_file()):
            result.write_into(source)
        if verdict is not None and folder is None:
            _write_verdict(source, verdict)
        for each in (source, folder):
            if each is not None:
                client.log_artifacts(run_id, str(each), "audit")
        if not known:
            _audit_numbers(client, run_id, result)
            client.log_table(run_id, _table(result), "audit/scores_table.json")
            for kind, rank, picture in gallery_pictures(result, pictures):
                client.log_image(run_id, picture, key=f"audit/{kind}", step=rank, synchronous=True)
        tags = {} if verdict is None else _verdict_tags(verdict)
        _tags(client, run_id, tags | {_AUDIT_MARK: mark})
    return run_id


def log_audited(
    run_id: str, result: AuditResult, manifest: pd.DataFrame, *, tracking_uri: str | None = None
) -> str:
    """Log an audit, and the rows that were audited as the dataset `audited`; see `log_audit`.

    Args:
        run_id: where to, see `audit_run`.
        result: the audit.
        manifest: what it was made on; its audited rows are logged.
        tracking_uri: None takes MLflow's own.

    Returns:
        Id of the run that holds the audit.
    """
    held = log_audit(run_id, result, tracking_uri=tracking_uri)
    rows, _ = audited_rows(manifest)
    log_data(held, rows, result.data_digest, name="audited", tracking_uri=tracking_uri)
    return held


def log_verdict(
    run_id: str,
    verdict: Verdict,
    policy: Policy,
    *,
    attestation: str | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Log ``gate/`` (verdict, policy, attestation), `verdict_metrics` and the verdict's tags.

    The run's description becomes the verdict in plain words, unless somebody has written another one.
    """
    with connected(tracking_uri, doing=f"log the verdict to run {run_id}") as client, _scratch() as folder:
        _write_verdict(folder, verdict)
        (folder / "policy.yaml").write_text(policy.to_yaml(), encoding="utf-8")
        if attestation is not None:
            (folder / "attestation.json").write_text(attestation + "\n", encoding="utf-8")
        client.log_artifacts(run_id, str(folder), "gate")
        client.log_batch(run_id, metrics=_metrics(verdict_metrics(verdict)))
        held = client.get_run(run_id).data.tags
        own = held.get(_NOTE, "")  # somebody's own words stay
        note = {_NOTE: verdict.sentence} if not own or own.startswith(OPENINGS) else {}
        _tags(client, run_id, _verdict_tags(verdict) | note)


def audit_metrics(result: AuditResult) -> dict[str, float]:
    """An audit as flat numbers, `audit/<name>`; names as MLflow takes them."""
    return names.metrics(summarise(result), "audit/")


def verdict_metrics(verdict: Verdict) -> dict[str, float]:
    """A verdict as flat numbers: the value of each check, `gate/<check>`, and `gate/passed`, 1 on PASS."""
    values = {check.name: check.value for check in verdict.checks}
    return names.metrics(values | {"passed": float(verdict.status is Status.PASS)}, "gate/")


def log_drill(run_id: str, drill: DrillResult, *, tracking_uri: str | None = None) -> None:
    """Log metrics `drill/*` and the file ``audit/drill.json``; its sentence as the tag `camgate.drill`."""
    with connected(tracking_uri, doing=f"log the drill to run {run_id}") as client, _scratch() as folder:
        (folder / "drill.json").write_text(drill.to_json(), encoding="utf-8")
        client.log_artifacts(run_id, str(folder), "audit")
        client.log_batch(run_id, metrics=_metrics(drill.summarise(), "drill/"))
        _tags(client, run_id, {"camgate.drill": drill.sentence()})


def _table(result: AuditResult) -> pd.DataFrame:
    """For MLflow's table view: the images with the highest invalid activation first, `_ROWS` at most."""
    worst = result.scores.sort_values(
        "invalid_activation", ascending=False, na_position="last", kind="stable"
    )
    kept = [name for name in _SHOWN if name in worst] + list(result.settings.slices)
    return worst[list(dict.fromkeys(kept))].head(_ROWS).reset_index(drop=True)


def _mark(result: AuditResult) -> str:
    return hashlib.sha256(json.dumps(result.meta(), default=str).encode()).hexdigest()


def _write_verdict(folder: Path, verdict: Verdict) -> None:
    (folder / "verdict.json").write_text(verdict.to_json(), encoding="utf-8")


def _audit_numbers(client: MlflowClient, run_id: str, result: AuditResult) -> None:
    _parameters(client, run_id, result.settings.model_dump(mode="json"), "audit.")
    for part in _parts(_metrics(audit_metrics(result)), 1000):
        client.log_batch(run_id, metrics=part)
    tags = {
        "camgate.model_digest": result.model_digest,
        "camgate.data_digest": result.data_digest,
        "camgate.model_uri": result.model_uri or "",
    }
    _tags(client, run_id, tags)


def _verdict_tags(verdict: Verdict) -> dict[str, str]:
    return {
        "camgate.verdict": str(verdict.status),
        "camgate.reason": verdict.reason,
        "camgate.sentence": verdict.sentence,
        "camgate.policy_digest": verdict.policy_digest,
    }


def _parameters(client: MlflowClient, run_id: str, values: Mapping[str, Any], prefix: str) -> None:
    wanted = names.parameters(values, prefix)
    held = client.get_run(run_id).data.params
    clash = sorted(key for key, value in wanted.items() if key in held and held[key] != value)
    if clash:
        raise RegistryError(
            f"run {run_id} already holds other values for {', '.join(clash[:5])} (such as {clash[0]} = "
            f"{held[clash[0]]}, now {wanted[clash[0]]}), and MLflow never changes a parameter: use a run of "
            "its own for each audit"
        )
    new = [Param(key, value) for key, value in wanted.items() if key not in held]
    for part in _parts(new, _BATCH):
        client.log_batch(run_id, params=part)


def _metrics(values: Mapping[str, Any], prefix: str = "") -> list[Metric]:
    now = _now()
    return [Metric(key, value, now, 0) for key, value in names.metrics(values, prefix).items()]


def _tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    kept = [RunTag(key, names.shortened(value, names.LONGEST_TAG)) for key, value in tags.items() if value]
    client.log_batch(run_id, tags=kept)


def _parts(entries: list[Any], size: int) -> Iterable[list[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _now() -> int:
    return int(time.time() * 1000)


def _common_folder(manifest: pd.DataFrame) -> str:
    parents = [Path(str(path)).parent for path in manifest["image"]] if "image" in manifest else []
    if not parents:
        return ""
    shared = parents[0]
    while not all(parent.is_relative_to(shared) for parent in parents) and shared != shared.parent:
        shared = shared.parent
    return str(shared)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="camgate-run-") as folder:
        yield Path(folder)
