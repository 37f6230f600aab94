"""A `Classifier` as a logged MLflow model, and back: weights and spec as files, nothing pickled."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.classifier import Classifier
from camgate.models.spec import WEIGHT_SUFFIXES, ModelSpec, load_weights
from camgate.models.storage import SPEC_FILE
from camgate.registry.connection import connected
from camgate.registry.digest import folder_digest
from camgate.registry.foreign import foreign_classifier
from camgate.registry.locations import Location, downloaded, is_model_uri, locate
from camgate.registry.packing import ARTIFACTS, pack_classifier

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedClassifier:
    """A classifier that MLflow keeps.

    Attributes:
        model_uri: ``models:/m-<id>``, which never moves.
        digest: SHA-256 hex of the logged files, see `camgate.registry.digest.folder_digest`.
    """

    model_uri: str
    digest: str


def log_classifier(
    classifier: Classifier,
    *,
    run_id: str,
    tracking_uri: str | None = None,
    name: str = "model",
    code_paths: Sequence[str | Path] = (),
    requirements: Sequence[str] = (),
) -> LoggedClassifier:
    """Log a classifier to a run as a pyfunc model from code, with its weights and spec as files.

    The code that predicts travels with it, so that it is served where camgate is not installed; what it needs
    from the package index is pinned to the versions installed here.

    The classifier then carries the `model_uri` and the digest of what was logged, so that an audit of it is
    evidence about the logged model (for as long as the module is unchanged, see `Classifier.digest`).

    Args:
        classifier: with a builder.
        run_id: the run that made it.
        tracking_uri: None takes MLflow's own.
        name: of the model in the run, so that ``runs:/<run_id>/<name>`` finds it.
        code_paths: files and folders with the builder's own code, where it is an import path. They must be
            imported while the model is built; later imports do not see them.
        requirements: further packages, as pip writes them.

    Raises:
        ModelError: the classifier has no builder, or one that cannot be found again elsewhere.
        RegistryError: MLflow refuses or cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="camgate-log-") as scratch:
        spec_folder = classifier.save(Path(scratch) / "classifier")  # fails before anything is logged
        with connected(tracking_uri, doing="log the model") as client:
            run = client.get_run(run_id)
            model = client.create_logged_model(
                run.info.experiment_id, name=name, source_run_id=run_id, model_type="image classifier"
            )
            status = LoggedModelStatus.FAILED
            try:
                folder = pack_classifier(
                    classifier,
                    spec_folder,
                    Path(scratch) / "model",
                    logged=model,
                    code_paths=code_paths,
                    requirements=requirements,
                )
                digest = folder_digest(folder)
                client.log_model_artifacts(model.model_id, str(folder))
                client.set_logged_model_tags(model.model_id, {"camgate.model_digest": digest})
                client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
                status = LoggedModelStatus.READY
            finally:
                client.finalize_logged_model(model.model_id, status)
    classifier.model_uri = f"models:/{model.model_id}"
    classifier.source_digest = digest
    return LoggedClassifier(classifier.model_uri, digest)


def log_where_new(classifier: Classifier, *, run_id: str, tracking_uri: str | None = None) -> None:
    """Log a classifier that MLflow does not hold yet, so that what is audited is what is logged.

    One without a builder cannot be logged: a warning says so.

    Args:
        classifier: gets `model_uri` and digest of what was logged.
        run_id: where to.
        tracking_uri: None takes MLflow's own.
    """
    if classifier.model_uri is not None:
        return
    if classifier.builder is not None:
        log_classifier(classifier, run_id=run_id, tracking_uri=tracking_uri)
        return
    _log.warning(
        "The model has no `builder`, so it is audited without being logged to MLflow and cannot be "
        "promoted. Give `builder`, or log it yourself and audit it by `source='models:/...'`."
    )


def load_classifier(
    uri: str,
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    spec: ModelSpec | None = None,
    allow_pickle: bool = False,
    allow_code: bool = False,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Classifier:
    """Load a logged model as an eager `Classifier`.

    Of a model that camgate logged, the spec and the weights are read; none of the logged code runs and
    nothing is unpickled.

    Args:
        uri: ``models:/m-<id>``, ``models:/name/version``, ``models:/name@alias`` or ``runs:/<run>/<name>``.
        classes: names of the outputs, needed for models that others logged; must agree where the spec has
            them.
        preprocessing: the same.
        spec: these and further facts together, see `camgate.models.spec.ModelSpec`.
        allow_pickle: also load a PyTorch model that others logged with pickle. It runs whatever code the
            file holds.
        allow_code: also when the builder is an import path, whose code then runs.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Returns:
        The classifier on the CPU. `model_uri` is ``models:/m-<id>`` where there is one, `source_digest` the
        digest of the logged files.

    Raises:
        ModelError: not a model that can be loaded so; says what is missing.
        RegistryError: MLflow knows no such model, refuses or cannot be reached.
    """
    facts = spec or ModelSpec()
    facts = facts.model_copy(
        update={
            "classes": facts.classes if classes is None else tuple(classes),
            "preprocessing": preprocessing or facts.preprocessing,
        }
    )
    with _files(uri, tracking_uri, registry_uri, doing=f"load {uri}") as (location, folder):
        try:
            spec_folder = folder / ARTIFACTS
            if (spec_folder / SPEC_FILE).is_file():
                classifier = Classifier.load(spec_folder, allow_code=allow_code)
                _check_agreement(classifier, facts)
            else:
                classifier = foreign_classifier(folder, facts, allow_pickle=allow_pickle)
            classifier.model_uri = location.model_uri or uri
            classifier.source_digest = folder_digest(folder)
        except ModelError as error:
            # The reader knows the URI, not the folder it was downloaded to.
            raise ModelError(f"{uri}: {str(error).replace(str(folder) + '/', '')}") from error
    return classifier


def logged_model_digest(uri: str, *, tracking_uri: str | None = None, registry_uri: str | None = None) -> str:
    """The digest of a logged model, from its files as the store has them now. Nothing is loaded.

    Raises:
        ModelError: not a model URI, or no logged model there.
        RegistryError: MLflow knows no such model, refuses or cannot be reached.
    """
    with _files(uri, tracking_uri, registry_uri, doing=f"read {uri}") as (_, folder):
        return folder_digest(folder)


def resolve_model(
    uri_or_folder: str | Path,
    *,
    spec: ModelSpec | None = None,
    allow_pickle: bool = False,
    allow_code: bool = False,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Classifier:
    """A classifier from a folder that `Classifier.save` wrote, a file of weights, or an MLflow URI.

    Args:
        uri_or_folder: the place. Weights alone (`.safetensors`, or a state dict in `.pt`, `.pth`, `.ckpt`)
            need a spec with a builder.
        spec: facts that the model does not hold itself.
        allow_pickle: see `load_classifier`.
        allow_code: see `load_classifier`.
        tracking_uri: None takes MLflow's own.
        registry_uri: None takes MLflow's own.

    Raises:
        ModelError: neither; or the model cannot be loaded.
        RegistryError: MLflow knows no such model, refuses or cannot be reached.
    """
    text = str(uri_or_folder)
    if is_model_uri(text):
        return load_classifier(
            text,
            spec=spec,
            allow_pickle=allow_pickle,
            allow_code=allow_code,
            tracking_uri=tracking_uri,
            registry_uri=registry_uri,
        )
    if Path(text).is_file() and Path(text).suffix.lower() in WEIGHT_SUFFIXES:
        return load_weights(text, spec or ModelSpec(), allow_code=allow_code)
    if not Path(text).is_dir():
        raise ModelError(
            f"{text}: is neither a folder that holds a saved classifier nor an MLflow URI "
            "(models:/name/version, models:/name@alias, models:/m-<id>, runs:/<run id>/<name>)"
        )
    classifier = Classifier.load(text, allow_code=allow_code)
    _check_agreement(classifier, spec or ModelSpec())
    return classifier


@contextmanager
def _files(
    uri: str, tracking_uri: str | None, registry_uri: str | None, *, doing: str
) -> Iterator[tuple[Location, Path]]:
    client: MlflowClient
    with connected(tracking_uri, registry_uri, doing=doing) as client:
        location = locate(client, uri)
        with downloaded(client, location) as folder:
            yield location, folder


def _check_agreement(classifier: Classifier, spec: ModelSpec) -> None:
    for what in ("classes", "preprocessing", "target_layer", "head", "builder"):
        given = getattr(spec, what)
        held = classifier.given_head if what == "head" else getattr(classifier, what)
        if given is not None and given != held:
            raise ModelError(f"`{what}` is given as {given}, but the model's own spec says {held}")
