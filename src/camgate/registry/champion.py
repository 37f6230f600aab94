"""The champion in the registry, and its audit on the candidate's images: found, or made."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from camgate.audit.result import AuditResult
from camgate.audit.runner import Progress, audit, derive_seed
from camgate.data.preprocessing import Preprocessing
from camgate.errors import CamgateError
from camgate.gate.measure import NoRival
from camgate.registry import versions
from camgate.registry.attestation import attested_scores
from camgate.registry.connection import connected
from camgate.registry.evidence import ATTESTATION
from camgate.registry.flavor import load_classifier
from camgate.registry.tracking import log_audited

RIVAL = "camgate.champion"
"""Tag of a run: the version that its model was compared with."""
PICTURES = 6
"""Of each kind, in the champion's audit: most of what it looks like was seen when it was promoted."""

RIVAL_FOLDER = "rival"
"""In an audit folder that is handed from step to step."""
_FILE, _AUDIT = "champion.json", "audit"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rival:
    """The champion that a candidate is held against.

    Attributes:
        audit: of the champion, on the candidate's images and by its settings; or why there is none.
        version: of the champion, 0 where the registry has none.
        run_id: run that holds the audit, None where there is none.
    """

    audit: AuditResult | NoRival
    version: int = 0
    run_id: str | None = None

    def save(self, folder: Path) -> None:
        """Write ``champion.json`` into a folder, and the audit's own folder beside it."""
        facts: dict[str, Any] = {"version": self.version, "run_id": self.run_id}
        if isinstance(self.audit, NoRival):
            facts["absent"] = asdict(self.audit)
        else:
            self.audit.save(folder / _AUDIT)
        (folder / _FILE).write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Rival:
        """Read what `save` wrote."""
        facts = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        absent = facts.pop("absent", None)
        return cls(AuditResult.load(folder / _AUDIT) if absent is None else NoRival(**absent), **facts)


@dataclass(frozen=True)
class _Champion:
    """The version that holds an alias; `digest` is that of its files as the registry has them now."""

    version: int
    digest: str
    tags: dict[str, str]


def rival_of(
    result: AuditResult,
    manifest: pd.DataFrame,
    *,
    name: str,
    run_id: str,
    alias: str = "champion",
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    allow_code: bool = False,
    allow_pickle: bool = False,
    batch_size: int = 32,
    workers: int | None = None,
    progress: Progress | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Rival:
    """Today's champion, audited as the candidate was.

    Its audit is taken from the run that its tags name, where that is an audit of the files that the registry
    holds, on the same images and by the same settings, with the scores that the version's attestation names.
    Otherwise the champion is audited now.

    Args:
        result: audit of the candidate.
        manifest: what it was made on.
        name: registered model; need not exist.
        run_id: the candidate's run. An audit that is made now is logged to it, or below it, and the tag
            `camgate.champion` names the version.
        alias: that the champion holds.
        classes: names of the champion's outputs, where it does not hold them.
        preprocessing: the same.
        allow_code: the champion may name a builder by import path, whose code then runs.
        allow_pickle: it may be a model that others logged with pickle.
        batch_size: images per forward pass.
        workers: loader processes; None: what suits the machine.
        progress: called with (stage, done, total).
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Returns:
        The champion and its audit. A champion that cannot be audited is a result too.

    Raises:
        InputError: a name or alias that MLflow refuses.
        RegistryError: MLflow refuses or cannot be reached.
    """
    versions.check_names(name, alias)
    with connected(tracking_uri, registry_uri, doing=f"look for {name}@{alias}") as client:
        champion = _holder(client, name, alias)
        if champion is None:
            return Rival(NoRival("no_champion", f"{name} has no {alias} yet"))
        client.set_tag(run_id, RIVAL, f"{name}/{champion.version}")
        if champion.digest == result.model_digest:
            same = NoRival("is_champion", f"the audited model is {alias} of {name} itself")
            return Rival(same, champion.version)
        found = _logged_audit(client, champion, result)
    if found is not None:
        return Rival(found, champion.version, champion.tags["camgate.audit_run_id"])
    uri = f"models:/{name}/{champion.version}"
    try:
        classifier = load_classifier(
            uri,
            classes=classes,
            preprocessing=preprocessing,
            allow_code=allow_code,
            allow_pickle=allow_pickle,
            tracking_uri=tracking_uri,
            registry_uri=registry_uri,
        )
        made = audit(
            classifier,
            manifest,
            **result.settings.options(),
            seed=_seed(result, str(classifier.source_digest)),
            gallery_worst=PICTURES,
            gallery_sample=PICTURES,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
        )
    except CamgateError as error:
        _log.warning("The champion %s could not be audited: %s", uri, error)
        return Rival(NoRival("not_audited", f"{uri} could not be audited: {error}"), champion.version)
    held = log_audited(run_id, made, manifest, tracking_uri=tracking_uri)
    return Rival(made, champion.version, held)


def _holder(client: MlflowClient, name: str, alias: str) -> _Champion | None:
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if alias not in model.aliases:
        return None
    version = client.get_model_version(name, str(model.aliases[alias]))
    return _Champion(int(version.version), versions.digest_of(client, version), dict(version.tags))


def _logged_audit(client: MlflowClient, champion: _Champion, like: AuditResult) -> AuditResult | None:
    """The audit in the run that the champion's tags name, where it can stand for one made now."""
    run_id = champion.tags.get("camgate.audit_run_id")
    if not run_id:
        return None
    try:
        held = client.get_run(run_id).data.tags
        if _identity(held) != {"model": champion.digest, "data": like.data_digest}:
            return None
        with tempfile.TemporaryDirectory(prefix="camgate-champion-") as scratch:
            folder = client.download_artifacts(run_id, "audit", scratch)
            found = AuditResult.load(Path(folder))
    except (CamgateError, MlflowException, OSError) as error:
        _log.warning("The champion's audit in run %s cannot be read, it is made again: %s", run_id, error)
        return None
    text = champion.tags.get(ATTESTATION)
    if text is not None and attested_scores(text) != found.scores_digest():
        _log.warning("The champion's scores in run %s are not the attested ones, it is audited again", run_id)
        return None
    wanted = like.settings.options(), _seed(like, champion.digest)
    fits = (found.model_digest, found.data_digest) == (champion.digest, like.data_digest)
    return found if fits and (found.settings.options(), found.settings.seed) == wanted else None


def _identity(tags: dict[str, Any]) -> dict[str, Any]:
    return {what: tags.get(f"camgate.{what}_digest") for what in ("model", "data")}


def _seed(like: AuditResult, model_digest: str) -> int:
    """The seed that the champion's audit must have: derived where the candidate's is, else the same."""
    if like.settings.seed == derive_seed(like.model_digest, like.data_digest):
        return derive_seed(model_digest, like.data_digest)
    return like.settings.seed
