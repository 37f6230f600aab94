from __future__ import annotations

import base64
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from torch import nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import ModelError, RegistryError
from camgate.models.builders import BUILDERS, build, builder
from camgate.models.classifier import Classifier
from camgate.registry.connection import process_tracking_uri
from camgate.registry.flavor import load_classifier, log_classifier, logged_model_digest, resolve_model
from camgate.registry.locations import locate

Make = Callable[..., Classifier]


@pytest.fixture
def images() -> torch.Tensor:
    chance = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=chance)


def stored(uri: str, store: str) -> Path:
    """The model's folder in the store itself."""
    return Path(locate(MlflowClient(store), uri).artifact_uri.removeprefix("file://").replace("%20", " "))


def test_comes_back_the_same_to_the_bit(
    classifier: Classifier, store: str, run_id: str, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    loaded = load_classifier(logged.model_uri, tracking_uri=store)
    assert np.array_equal(loaded.probabilities(images), classifier.probabilities(images))
    assert (loaded.classes, loaded.preprocessing) == (classifier.classes, classifier.preprocessing)
    assert loaded.model_uri == logged.model_uri
    assert loaded.digest() == loaded.source_digest == logged.digest
    assert not loaded.module.training


def test_the_logged_classifier_answers_for_the_log_until_it_changes(
    classifier: Classifier, store: str, run_id: str
) -> None:
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    assert (classifier.model_uri, classifier.digest()) == (logged.model_uri, logged.digest)
    with torch.no_grad():
        next(classifier.module.parameters()).add_(1)
    assert classifier.digest() != logged.digest


def test_the_digest_is_the_same_by_every_uri(classifier: Classifier, store: str, run_id: str) -> None:
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store, name="net")
    client = MlflowClient(store)
    client.create_registered_model("underpass")
    with process_tracking_uri(store):
        version = client.create_model_version("underpass", logged.model_uri)
    client.set_registered_model_alias("underpass", "champion", str(version.version))
    uris = (logged.model_uri, "models:/underpass/1", "models:/underpass@champion", f"runs:/{run_id}/net")
    assert {logged_model_digest(uri, tracking_uri=store) for uri in uris} == {logged.digest}
    assert {load_classifier(uri, tracking_uri=store).model_uri for uri in uris} == {logged.model_uri}


def test_logging_the_same_twice_gives_the_same_digest(make_classifier: Make, store: str, run_id: str) -> None:
    first, second, other = (
        log_classifier(make_classifier(seed=seed), run_id=run_id, tracking_uri=store) for seed in (0, 0, 1)
    )
    assert first.digest == second.digest != other.digest
    assert first.model_uri != second.model_uri


def test_serving_from_the_store_does_not_change_the_digest(
    classifier: Classifier, store: str, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow loads code from a local store in place; bytecode written there would count as tampering."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    with process_tracking_uri(store):
        mlflow.pyfunc.load_model(logged.model_uri)
    folder = stored(logged.model_uri, store)
    assert (folder / "serving.py").is_file()
    assert not list(folder.rglob("*.pyc"))
    assert logged_model_digest(logged.model_uri, tracking_uri=store) == logged.digest


def test_a_changed_file_changes_the_digest(classifier: Classifier, store: str, run_id: str) -> None:
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    code = stored(logged.model_uri, store) / "code" / "camgate" / "data" / "preprocessing.py"
    code.write_text(code.read_text() + "\n")
    assert logged_model_digest(logged.model_uri, tracking_uri=store) != logged.digest


def test_what_is_logged_names_no_path_of_this_machine(
    classifier: Classifier, store: str, run_id: str, tmp_path: Path
) -> None:
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    folder = stored(logged.model_uri, store)
    flavor = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert not [path for path in (str(tmp_path), str(Path.cwd()), "/tmp") if path in str(flavor)]
    pinned = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in pinned)
    assert not [line for line in pinned if line.startswith(("camgate", "zenml"))]
    assert {path.name for path in (folder / "code" / "camgate").iterdir() if path.is_dir()} == {
        "data",
        "models",
    }


def test_a_network_of_timm_is_logged_with_its_pin(store: str, run_id: str) -> None:
    how = Preprocessing(size=(32, 32))
    net = Classifier(build("timm:resnet10t", {}, 2), ["a", "b"], how, builder="timm:resnet10t")
    logged = log_classifier(net, run_id=run_id, tracking_uri=store)
    pinned = (stored(logged.model_uri, store) / "requirements.txt").read_text().split()
    assert f"timm=={metadata.version('timm')}" in pinned
    assert load_classifier(logged.model_uri, tracking_uri=store).builder == "timm:resnet10t"


def test_loading_runs_none_of_the_logged_code(classifier: Classifier, store: str, run_id: str) -> None:
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    folder = stored(logged.model_uri, store)
    for path in folder.rglob("*.py"):
        path.write_text("raise SystemExit('this code ran')\n")
    assert load_classifier(logged.model_uri, tracking_uri=store).classes == classifier.classes
    with pytest.raises(SystemExit, match="this code ran"), process_tracking_uri(store):
        mlflow.pyfunc.load_model(logged.model_uri)  # the trap works


def test_pyfunc_takes_paths_bytes_base64_and_arrays(
    classifier: Classifier, store: str, run_id: str, squares: pd.DataFrame
) -> None:
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    path_before, camgate_before = list(sys.path), sys.modules["camgate"]
    with process_tracking_uri(store):
        model = mlflow.pyfunc.load_model(logged.model_uri)
    assert (sys.path, sys.modules["camgate"]) == (path_before, camgate_before)
    assert sys.modules["camgate.models.classifier"].Classifier is Classifier

    paths = squares["image"].tolist()[:4]
    contents = [Path(path).read_bytes() for path in paths]
    texts = [base64.b64encode(content).decode() for content in contents]
    from camgate.data.images import read_image

    pixels = np.stack([read_image(path) for path in paths])
    expected = classifier.probabilities(
        torch.stack([classifier.preprocessing.geometry(p, np.ones(p.shape[:2], bool))[0] for p in pixels])
    )
    index = ["a", "b", "c", "d"]
    for values in (paths, contents, texts, ["data:image/png;base64," + text for text in texts]):
        table = model.predict(pd.DataFrame({"image": values, "other": 1}, index=index))
        assert list(table.columns) == ["predicted", "red", "blue"]
        assert list(table.index) == index
        assert np.array_equal(table[["red", "blue"]].to_numpy(), expected)
        assert table["predicted"].tolist() == [classifier.classes[i] for i in expected.argmax(axis=1)]
    for array in (pixels, pixels.astype(np.int64)):
        assert np.array_equal(model.predict(array)[["red", "blue"]].to_numpy(), expected)
    assert model.predict(pd.DataFrame({"image": []})).shape == (0, 3)
    names = [column.name for column in model.metadata.get_output_schema().inputs]
    assert names == ["predicted", "red", "blue"]

    for wrong, message in (
        (pd.DataFrame({"picture": paths}), "needs a column `image`"),
        (pd.DataFrame({"image": ["no/such.png"]}), "row 0, column `image`: 'no/such.png' is neither a file"),
        (pd.DataFrame({"image": [b"abc"]}, index=[7]), "row 7, column `image`: not an image file"),
        (pd.DataFrame({"image": [3]}), "got int"),
        (pixels / 255, "whole numbers 0..255"),
        (pixels[0], "of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(wrong)


def test_odd_class_names(make_classifier: Make, store: str, run_id: str, images: torch.Tensor) -> None:
    classes = ("predicted", "a/b: ü'\"", "image")
    logged = log_classifier(make_classifier(classes=classes), run_id=run_id, tracking_uri=store)
    with process_tracking_uri(store):
        model = mlflow.pyfunc.load_model(logged.model_uri)
    table = model.predict(images.permute(0, 2, 3, 1).numpy())
    assert list(table.columns) == ["predicted", "predicted (class)", "a/b: ü'\"", "image"]
    assert [column.name for column in model.metadata.get_output_schema().inputs] == list(table.columns)


WITHOUT_CAMGATE = """
    import sys

    assert not any("camgate" in name for name in sys.modules)
    sys.meta_path = [f for f in sys.meta_path if "editable" not in str(f).lower()]
    sys.path = [p for p in sys.path if not p.endswith("src") and "__editable__" not in p]
    try:
        import camgate
    except ModuleNotFoundError:
        pass
    else:
        raise SystemExit("camgate is still installed: " + camgate.__file__)

    import warnings

    import mlflow.pyfunc.model  # which warns by itself
    import numpy as np

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?si).*type hint")
        model = mlflow.pyfunc.load_model(sys.argv[1])
    pixels = np.load(sys.argv[2])
    model.predict(pixels)["red"].to_numpy().tofile(sys.argv[3])
    heavy = {"zenml", "lightning", "pytorch_grad_cam", "matplotlib"} & set(sys.modules)
    assert not heavy, heavy
    assert "camgate" not in sys.modules
"""


def test_predicts_where_camgate_is_not_installed(
    classifier: Classifier, store: str, run_id: str, images: torch.Tensor, tmp_path: Path
) -> None:
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    np.save(tmp_path / "pixels.npy", images.permute(0, 2, 3, 1).numpy())
    answer = tmp_path / "answer.bin"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(WITHOUT_CAMGATE),
            logged.model_uri,
            tmp_path / "pixels.npy",
            answer,
        ],
        env={k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}}
        | {
            "MLFLOW_TRACKING_URI": store,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "OMP_NUM_THREADS": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    shares = np.fromfile(answer, dtype=np.float32)
    assert shares == pytest.approx(classifier.probabilities(images)[:, 0], abs=1e-6)
    assert logged_model_digest(logged.model_uri, tracking_uri=store) == logged.digest


def test_without_builder_nothing_is_logged(store: str, run_id: str) -> None:
    plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), ["a", "b"], Preprocessing(size=(4, 4)))
    with pytest.raises(ModelError, match="builder="):
        log_classifier(plain, run_id=run_id, tracking_uri=store)
    client = MlflowClient(store)
    assert not client.search_logged_models([client.get_run(run_id).info.experiment_id])


def test_a_builder_of_this_process_only_is_refused(store: str, run_id: str) -> None:
    @builder("tests_only")
    def tests_only(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48, num_classes))

    try:
        model = Classifier(tests_only(2), ["a", "b"], Preprocessing(size=(4, 4)), builder="tests_only")
        with pytest.raises(ModelError, match="this process only"):
            log_classifier(model, run_id=run_id, tracking_uri=store)
    finally:
        del BUILDERS["tests_only"]
    client = MlflowClient(store)
    (model_,) = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert model_.status == "FAILED"


def test_own_code_travels_along(
    store: str, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "own" / "own_net"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from torch import nn\n\n\ndef small(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(48, num_classes))\n"
    )
    with monkeypatch.context() as here:
        here.syspath_prepend(str(package.parent))
        import own_net

        module = own_net.small(2).eval()
        model = Classifier(module, ["a", "b"], Preprocessing(size=(4, 4)), builder="own_net:small")
        logged = log_classifier(model, run_id=run_id, tracking_uri=store, code_paths=[package])
    del sys.modules["own_net"]
    pixels = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    with process_tracking_uri(store):
        served = mlflow.pyfunc.load_model(logged.model_uri)
    assert served.predict(pixels).shape == (1, 3)
    del sys.modules["own_net"]
    with pytest.raises(ModelError, match="allow_code=True"):
        load_classifier(logged.model_uri, tracking_uri=store)


def test_agreement_is_checked(classifier: Classifier, store: str, run_id: str) -> None:
    uri = log_classifier(classifier, run_id=run_id, tracking_uri=store).model_uri
    same = {"classes": ["red", "blue"], "preprocessing": Preprocessing(size=(32, 32))}
    assert load_classifier(uri, tracking_uri=store, **same).classes == ("red", "blue")
    with pytest.raises(ModelError, match="the model's own spec says"):
        load_classifier(uri, tracking_uri=store, classes=["blue", "red"])
    with pytest.raises(ModelError, match="`preprocessing` is given"):
        load_classifier(uri, tracking_uri=store, preprocessing=Preprocessing(size=(16, 16)))


def test_damaged_files_are_named_by_uri(classifier: Classifier, store: str, run_id: str) -> None:
    uri = log_classifier(classifier, run_id=run_id, tracking_uri=store).model_uri
    weights = stored(uri, store) / "artifacts" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"^models:/m-") as caught:
        load_classifier(uri, tracking_uri=store)
    assert "camgate-model-" not in str(caught.value)  # no temporary folder


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("models:/nobody@champion", RegistryError, "nobody"),
        ("models:/nobody/1", RegistryError, "nobody"),
        ("models:/m-0123456789abcdef0123456789abcdef", RegistryError, "m-0123456789abcdef"),
        ("models:/nobody/Production", ModelError, "alias"),
        ("models:/nobody/latest", ModelError, "alias"),
        ("models:/", RegistryError, "models:/"),
        ("runs:/0123", ModelError, "runs:/<run id>/<name>"),
        ("file:///somewhere", ModelError, "no model URI"),
    ],
)
def test_models_that_are_not_there(store: str, uri: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_classifier(uri, tracking_uri=store)


def test_a_run_without_the_model(classifier: Classifier, store: str, run_id: str) -> None:
    log_classifier(classifier, run_id=run_id, tracking_uri=store)
    with pytest.raises(ModelError, match="holds no model named 'other'"):
        load_classifier(f"runs:/{run_id}/other", tracking_uri=store)


def test_resolve_model(classifier: Classifier, store: str, run_id: str, tmp_path: Path) -> None:
    folder = classifier.save(tmp_path / "saved")
    assert resolve_model(folder).digest() == resolve_model(str(folder)).digest() == classifier.digest()
    logged = log_classifier(classifier, run_id=run_id, tracking_uri=store)
    assert resolve_model(logged.model_uri, tracking_uri=store).digest() == logged.digest
    with pytest.raises(ModelError, match="neither a folder"):
        resolve_model(tmp_path / "absent")


def test_a_model_that_others_logged(
    classifier: Classifier, store: str, run_id: str, images: torch.Tensor
) -> None:
    with process_tracking_uri(store), mlflow.start_run(run_id=run_id):
        info = mlflow.pytorch.log_model(
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)),
            name="foreign",
            serialization_format="pickle",
            pip_requirements=["torch"],
        )
    facts = {"classes": ["a", "b"], "preprocessing": Preprocessing(size=(32, 32))}
    with pytest.raises(ModelError, match=r"classes=\[...\], preprocessing=.*, allow_pickle=True"):
        load_classifier(info.model_uri, tracking_uri=store)
    with pytest.raises(ModelError, match="allow_pickle=True"):
        load_classifier(info.model_uri, tracking_uri=store, **facts)
    with process_tracking_uri(store):
        loaded = Classifier.from_mlflow(info.model_uri, allow_pickle=True, **facts)
    assert loaded.probabilities(images).shape == (3, 2)
    assert loaded.digest() == logged_model_digest(info.model_uri, tracking_uri=store)
