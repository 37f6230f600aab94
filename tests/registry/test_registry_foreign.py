"""Models that others logged or saved: what goes in, and what is refused with a way out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from camgate.models.spec import ModelSpec
from camgate.registry.connection import process_tracking_uri
from camgate.registry.flavor import load_classifier, log_classifier, resolve_model

TINY = {"widths": [8, 8, 16, 16], "blocks": [1, 1, 1]}
SIZE = {"size": [32, 32]}


def log(store: str, run_id: str, flavor: Any, model: Any, **options: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with process_tracking_uri(store), mlflow.start_run(run_id=run_id):
            return str(flavor.log_model(model, name="foreign", pip_requirements=[], **options).model_uri)


def net() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet_small", TINY, 2).eval()


def test_the_default_of_mlflow_is_refused_before_anything_is_loaded(
    store: str, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = log(store, run_id, mlflow.pytorch, net(), input_example=np.zeros((2, 3, 32, 32), np.float32))
    monkeypatch.setattr(mlflow.pytorch, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ModelError) as caught:
        load_classifier(
            uri,
            classes=["a", "b"],
            preprocessing=Preprocessing(size=(32, 32)),
            allow_pickle=True,
            tracking_uri=store,
        )
    assert "forward hooks do not fire in its graph and its image size is frozen" in str(caught.value)
    assert 'serialization_format="pickle"' in str(caught.value)
    assert uri in str(caught.value)


def test_a_scripted_model_is_refused_with_the_reason(store: str, run_id: str) -> None:
    scripted = torch.jit.trace(net(), torch.zeros(1, 3, 32, 32))
    uri = log(store, run_id, mlflow.pytorch, scripted, serialization_format="pickle")
    spec = ModelSpec.model_validate({"classes": ["a", "b"], "preprocessing": SIZE})
    with pytest.raises(ModelError, match=r"TorchScript .*: its layers do not run as Python modules"):
        load_classifier(uri, spec=spec, allow_pickle=True, tracking_uri=store)


def test_another_flavor_is_refused_by_name(store: str, run_id: str) -> None:
    class Answer(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: list[str]) -> list[str]:
            return model_input

    uri = log(store, run_id, mlflow.pyfunc, None, python_model=Answer())
    with pytest.raises(
        ModelError, match=r"no PyTorch model either \(flavors: python_function\); log the net"
    ):
        load_classifier(uri, tracking_uri=store)


def test_the_spec_gives_what_mlflow_does_not_keep(store: str, run_id: str, tmp_path: Path) -> None:
    uri = log(store, run_id, mlflow.pytorch, net(), serialization_format="pickle")
    file = tmp_path / "model.json"
    file.write_text(json.dumps({"classes": ["a", "b"], "preprocessing": SIZE, "target_layer": "stage2"}))
    loaded = resolve_model(uri, spec=ModelSpec.read(file), allow_pickle=True, tracking_uri=store)
    assert (loaded.classes, loaded.target_layer) == (("a", "b"), "stage2")
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    expected = Classifier(net(), ["a", "b"], Preprocessing(size=(32, 32))).probabilities(images)
    np.testing.assert_allclose(loaded.probabilities(images), expected, rtol=1e-5)
    with pytest.raises(ModelError, match=r"also give preprocessing=.*, allow_pickle=True"):
        load_classifier(uri, classes=["a", "b"], tracking_uri=store)


def test_a_network_of_transformers_names_its_classes(store: str, run_id: str) -> None:
    def of(**labels: Any) -> nn.Module:
        config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], **labels)
        return transformers.ResNetForImageClassification(config)

    how = Preprocessing(size=(32, 32))
    named = of(id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1})
    uri = log(store, run_id, mlflow.pytorch, named, serialization_format="pickle")
    loaded = load_classifier(uri, preprocessing=how, allow_pickle=True, tracking_uri=store)
    assert loaded.classes == ("cat", "dog")
    assert loaded.probabilities(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (1, 2)
    uri = log(store, run_id, mlflow.pytorch, of(num_labels=2), serialization_format="pickle")
    with pytest.raises(ModelError, match=r"also give classes=\[\.\.\.\]$"):
        load_classifier(uri, preprocessing=how, allow_pickle=True, tracking_uri=store)


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_alone_with_a_spec(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": net().state_dict()}, path)
    else:
        save_file(net().state_dict(), path)
    facts = {
        "classes": ["a", "b"],
        "preprocessing": SIZE,
        "builder": "resnet_small",
        "builder_args": TINY,
    }
    loaded = resolve_model(path, spec=ModelSpec.model_validate(facts))
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    expected = Classifier(net(), ["a", "b"], Preprocessing(size=(32, 32))).probabilities(images)
    np.testing.assert_allclose(loaded.probabilities(images), expected, rtol=1e-5)
    assert not loaded.module.training
    with pytest.raises(ModelError, match=rf"weights{suffix}: does not fit 3 outputs"):
        resolve_model(path, spec=ModelSpec.model_validate({**facts, "classes": ["a", "b", "c"]}))
    with pytest.raises(ModelError, match="the spec must also give builder, classes, preprocessing"):
        resolve_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"clases": []}', r"clases: no such key; did you mean classes\?"),
        ('{"preprocessing": {"size": [0, 3]}}', "preprocessing: `size` is"),
        (
            '{"preprocessing": {"size": [8, 8], "means": [0]}}',
            r"preprocessing\.means: no such key; .* mean\?",
        ),
        ('{"head": "sofmax"}', "head: Input should be"),
        ("[]", "content: "),
    ],
)
def test_a_spec_with_faults_names_file_and_key(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ModelError, match=rf"model\.json.*{message}"):
        ModelSpec.read(tmp_path / "model.json")
    with pytest.raises(ModelError, match=r"absent\.json: the model's spec cannot be read"):
        ModelSpec.read(tmp_path / "absent.json")


def test_a_spec_must_agree_with_the_models_own(
    classifier: Classifier, store: str, run_id: str, tmp_path: Path
) -> None:
    folder = classifier.save(tmp_path / "saved")
    own = ModelSpec(classes=classifier.classes, preprocessing=classifier.preprocessing)
    other = ModelSpec(target_layer="stem")
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    for place in (folder, logged.model_uri):
        assert resolve_model(place, spec=own, tracking_uri=store).classes == classifier.classes
        with pytest.raises(ModelError, match="`target_layer` is given as stem"):
            resolve_model(place, spec=other, tracking_uri=store)
