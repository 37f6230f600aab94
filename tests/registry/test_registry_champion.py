"""The champion in a real registry, and its audit on the candidate's images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from mlflow import MlflowClient

from camgate.audit.result import AuditResult
from camgate.audit.runner import audit, derive_seed
from camgate.gate.judge import judge
from camgate.gate.measure import NoRival
from camgate.gate.verdict import Status, Verdict
from camgate.models.classifier import Classifier
from camgate.registry.attestation import attest
from camgate.registry.champion import Rival, rival_of
from camgate.registry.flavor import log_classifier
from camgate.registry.promotion import Promotion, register_and_promote
from camgate.registry.tracking import log_audit, open_run

QUICK: dict[str, Any] = {
    "interventions": False,
    "sanity": False,
    "target_layer": "stage2",
    "gallery_worst": 1,
    "gallery_sample": 1,
}


@dataclass
class Registry:
    """A store in which `underpass` has a champion that was audited, and a run of the next candidate."""

    uri: str
    champion: AuditResult
    champion_run: str
    candidate: AuditResult
    candidate_run: str
    manifest: pd.DataFrame

    def rival(self, candidate: AuditResult | None = None, **options: Any) -> Rival:
        options = {"name": "underpass", "run_id": self.candidate_run, "tracking_uri": self.uri} | options
        return rival_of(candidate or self.candidate, options.pop("manifest", self.manifest), **options)

    def runs(self) -> int:
        client = MlflowClient(self.uri)
        return len(client.search_runs([client.get_run(self.champion_run).info.experiment_id]))


@pytest.fixture
def registry(
    store: str,
    run_id: str,
    squares: pd.DataFrame,
    make_classifier: Callable[..., Classifier],
    make_verdict: Callable[..., Verdict],
) -> Registry:
    model = make_classifier(seed=1)
    logged = log_classifier(model, run_id=run_id, tracking_uri=store)
    held = audit(model, squares, **QUICK)
    log_audit(run_id, held, tracking_uri=store)
    verdict = make_verdict("PASS", logged.digest)
    moved = register_and_promote(
        verdict,
        attestation=attest(verdict, held, runs={"audit": run_id}),
        model_uri=logged.model_uri,
        name="underpass",
        run_id=run_id,
        tracking_uri=store,
    )
    assert moved.alias_moved
    candidate = audit(make_classifier(seed=2), squares, **QUICK)
    next_run = open_run(experiment="camgate tests", key="pipeline-2", tracking_uri=store)
    log_audit(next_run, candidate, tracking_uri=store)
    return Registry(store, held, run_id, candidate, next_run, squares)


def test_the_audit_that_promoted_it_is_found(registry: Registry) -> None:
    before = registry.runs()
    rival = registry.rival()
    assert (rival.version, rival.run_id) == (1, registry.champion_run)
    assert isinstance(rival.audit, AuditResult)
    pd.testing.assert_frame_equal(rival.audit.scores, registry.champion.scores, check_dtype=False)
    assert rival.audit.model_digest == registry.champion.model_digest
    assert registry.runs() == before
    tags = MlflowClient(registry.uri).get_run(registry.candidate_run).data.tags
    assert tags["camgate.champion"] == "underpass/1"


def test_other_settings_or_images_mean_another_audit(
    registry: Registry, make_classifier: Callable[..., Classifier]
) -> None:
    finer = audit(make_classifier(seed=2), registry.manifest, **QUICK | {"tolerance": 0})
    rival = registry.rival(finer)
    assert isinstance(rival.audit, AuditResult)
    assert rival.audit.settings.tolerance == 0
    assert rival.audit.settings.target_layer == "stage2"
    assert rival.audit.model_digest == registry.champion.model_digest
    assert rival.audit.settings.seed == derive_seed(registry.champion.model_digest, finer.data_digest)
    assert rival.run_id not in {registry.champion_run, registry.candidate_run}
    parent = MlflowClient(registry.uri).get_run(str(rival.run_id)).data.tags["mlflow.parentRunId"]
    assert parent == registry.candidate_run

    fewer = registry.manifest.iloc[:16].reset_index(drop=True)
    elsewhere = audit(make_classifier(seed=2), fewer, seed=5, **QUICK)
    again = registry.rival(elsewhere, manifest=fewer)
    assert isinstance(again.audit, AuditResult)
    assert again.audit.data_digest == elsewhere.data_digest != registry.champion.data_digest
    assert again.audit.settings.seed == 5  # chosen by hand for the candidate, so for the champion too


@pytest.mark.parametrize("fault", ["tampered", "damaged", "gone", "scores"])
def test_an_audit_that_does_not_fit_is_made_again(registry: Registry, fault: str) -> None:
    client = MlflowClient(registry.uri)
    if fault == "gone":
        client.set_model_version_tag("underpass", "1", "camgate.audit_run_id", "0" * 32)
    else:
        place = client.get_run(registry.champion_run).info.artifact_uri.removeprefix("file://")
        folder = Path(unquote(place)) / "audit"
        scores = pd.read_parquet(folder / "scores.parquet")
        if fault == "scores":
            scores["invalid_activation_label"] = 0.9  # a champion that looks worse lets more pass
            scores.to_parquet(folder / "scores.parquet", index=False)
        file = folder / "audit.json"
        meta = json.loads(file.read_text())
        if fault == "tampered":
            meta["model_digest"] = registry.candidate.model_digest
        file.write_text("{" if fault == "damaged" else json.dumps(meta))
    rival = registry.rival()
    assert isinstance(rival.audit, AuditResult)
    assert rival.run_id not in {None, registry.champion_run}
    assert rival.audit.model_digest == registry.champion.model_digest
    pd.testing.assert_frame_equal(rival.audit.scores, registry.champion.scores)


def test_no_champion_and_the_champion_itself_leave_nothing_to_compare(registry: Registry) -> None:
    for options in ({"name": "nobody"}, {"alias": "staging"}):
        nobody = registry.rival(**options)
        assert (nobody.version, nobody.run_id) == (0, None)
        assert isinstance(nobody.audit, NoRival)
        assert nobody.audit.reason == "no_champion"
    itself = registry.rival(registry.champion)
    assert itself.version == 1
    assert isinstance(itself.audit, NoRival)
    assert itself.audit.reason == "is_champion"


def test_a_champion_that_cannot_be_audited_is_an_error(
    registry: Registry, log_files: Callable[[str], tuple[str, str]], promote: Callable[..., Promotion]
) -> None:
    assert promote(log_files("somebodys")).alias_moved
    rival = registry.rival()
    assert rival.version == 2
    assert isinstance(rival.audit, NoRival)
    terms = {"checks": {"champion": {"max_accuracy_loss": 0.1}, "accuracy": {"min": 0.0}}}
    check = judge(registry.candidate, terms, champion=rival.audit).check("champion")
    assert check is not None
    assert (check.status, check.reason) == (Status.ERROR, "not_audited")
    assert "models:/underpass/2 could not be audited" in check.message
    assert "not logged by camgate" in check.message


def test_a_decision_against_no_champion_moves_nothing_once_there_is_one(
    log_files: Callable[[str], tuple[str, str]], promote: Callable[..., Promotion]
) -> None:
    first, second = log_files("first"), log_files("second")
    assert promote(first, champion=0).alias_moved
    late = promote(second, champion=0)
    assert (late.alias_moved, late.reason) == (False, "champion_changed")
    assert "was nobody" in late.sentence
    assert promote(second, champion=1).alias_moved
