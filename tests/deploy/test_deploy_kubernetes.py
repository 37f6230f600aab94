"""The manifests fit Kubernetes' schemas, their commands do what the page says, and ZenML has the options."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import kubernetes_validate
import mlflow
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.models.cli import commands as mlflow_models
from typer.testing import CliRunner

from camgate.audit.runner import audit
from camgate.cli import app
from camgate.data.reading import read_data
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.models.classifier import Classifier
from camgate.registry.attestation import attest
from camgate.registry.connection import prepare_local_store
from camgate.registry.flavor import log_classifier
from camgate.registry.pinning import pin_policy
from camgate.registry.promotion import register_and_promote
from camgate.registry.runs import open_run
from camgate.registry.signing import SIGNING_KEY, make_keys
from candidates import LENIENT, make_candidate

REPO = Path(__file__).resolve().parents[2]
MANIFESTS = REPO / "examples" / "kubernetes"
SERVER, NIGHTLY = (
    list(yaml.safe_load_all((MANIFESTS / name).read_text(encoding="utf-8")))
    for name in ("model-server.yaml", "verify-champions.yaml")
)
NAME = "pets"


def test_every_manifest_is_checked() -> None:
    assert {path.name for path in MANIFESTS.iterdir()} == {"model-server.yaml", "verify-champions.yaml"}


@pytest.mark.parametrize(
    "manifest", [*SERVER, *NIGHTLY], ids=lambda found: f"{found['kind']}-{found['metadata']['name']}"
)
def test_a_manifest_fits_the_schema_of_kubernetes(manifest: dict[str, Any]) -> None:
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifest, newest, strict=True)
    wrong = copy.deepcopy(manifest)
    wrong["spec"]["nosuch"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, newest, strict=True)


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod's part of a Deployment or a CronJob."""
    spec = manifest["spec"]
    spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
    found: dict[str, Any] = spec["template"]["spec"]
    return found


@pytest.mark.parametrize("manifest", [SERVER[0], *NIGHTLY], ids=lambda found: found["kind"])
def test_pods_are_locked_down_and_mount_what_there_is(manifest: dict[str, Any]) -> None:
    found = pod(manifest)
    assert found["securityContext"]["runAsNonRoot"]
    volumes = {volume["name"] for volume in found["volumes"]}
    for container in [*found.get("initContainers", ()), *found["containers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        words = shlex.split(" ".join([*container["command"], *container.get("args", ())]), comments=False)
        mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
        absolute = [word for word in words if re.match(r"/\w", word)]
        assert all(word.startswith(tuple(mounted)) for word in absolute), absolute
    assert (
        SERVER[1]["spec"]["selector"].items() <= SERVER[0]["spec"]["template"]["metadata"]["labels"].items()
    )


def test_the_model_server_has_these_options() -> None:
    (server,) = pod(SERVER[0])["containers"]
    program, group, command, *options = [*server["command"], *server["args"]]
    assert (program, group) == ("mlflow", "models")
    known = {name for each in mlflow_models.commands[command].params for name in each.opts}
    assert {word for word in options if word.startswith("--")} <= known
    assert options[options.index("--port") + 1] == str(server["ports"][0]["containerPort"])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with a champion that was audited, signed and promoted, and the key pair."""
    folder = tmp_path_factory.mktemp("registry")
    make_candidate(folder)
    prepare_local_store(folder, "none")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    make_keys(folder / "keys" / "gate")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(SIGNING_KEY, str(folder / "keys" / "gate"))
        patch.setenv("MLFLOW_TRACKING_URI", store)
        terms = Policy.parse(LENIENT)
        pin_policy(NAME, LENIENT)
        run_id = open_run(experiment="admission", key="admission")
        classifier = Classifier.load(folder / "model")
        uri = log_classifier(classifier, run_id=run_id).model_uri
        result = audit(classifier, read_data(folder / "data"), **terms.audit_options())
        verdict = judge(result, terms)
        statement = attest(verdict, result, runs={"audit": run_id})
        done = register_and_promote(verdict, model_uri=uri, name=NAME, run_id=run_id, attestation=statement)
        assert done.alias_moved, done.sentence
        yield folder
        mlflow.set_tracking_uri(None)


def placed(text: str, registry: Path, model: Path) -> str:
    """A command of a container with its mounts where they are here."""
    return text.replace("/keys/", f"{registry / 'keys'}/").replace("/model/", f"{model}/")


def verified(registry: Path, model: Path) -> int:
    """Run the first init container in a shell of its own."""
    verify = pod(SERVER[0])["initContainers"][0]
    programs = registry / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "camgate").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m camgate.cli "$@"\n')
    (programs / "camgate").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPO / "src"),
    }
    command = [*verify["command"], *(placed(each, registry, model) for each in verify["args"])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == (model / "proof.json").read_text(), "the logs show the proofs"
    return done.returncode


def fetched(registry: Path, model: Path) -> None:
    """Run the code of the second one."""
    fetch = pod(SERVER[0])["initContainers"][1]
    assert fetch["command"] == ["python", "-c"]
    exec(compile(placed(fetch["args"][0], registry, model), "fetch", "exec"), {})


def nightly(registry: Path) -> int:
    program, *arguments = pod(NIGHTLY[0])["containers"][0]["command"]
    assert program == "camgate"
    return CliRunner().invoke(app, [placed(each, registry, registry) for each in arguments]).exit_code


def test_only_what_was_proven_is_served(registry: Path, tmp_path: Path) -> None:
    assert verified(registry, tmp_path) == 0
    assert nightly(registry) == 0
    fetched(registry, tmp_path)
    assert (tmp_path / "files" / "MLmodel").is_file()

    client = MlflowClient()
    location = Path(unquote(client.get_model_version_download_uri(NAME, "1").removeprefix("file://")))
    if not location.is_dir():  # a logged model's URI
        model = client.get_logged_model(str(location).rpartition("/")[2])
        location = Path(unquote(model.artifact_location.removeprefix("file://")))
    extra = location / "extra.py"
    extra.write_text("changed = True\n")
    shutil.rmtree(tmp_path / "files")
    with pytest.raises(SystemExit, match="has changed since it was proven"):
        fetched(registry, tmp_path)
    extra.unlink()

    # Somebody moves the alias past the gate.
    moved = client.create_model_version(NAME, client.get_model_version(NAME, "1").source)
    client.set_registered_model_alias(NAME, "champion", moved.version)
    assert verified(registry, tmp_path) == 1
    assert nightly(registry) == 1


@pytest.mark.long
def test_the_server_answers_with_what_was_fetched(registry: Path, tmp_path: Path) -> None:
    download_artifacts(f"models:/{NAME}/1", dst_path=str(tmp_path / "files"))
    (server,) = pod(SERVER[0])["containers"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    here = {"mlflow": f"{sys.executable} -m mlflow", "0.0.0.0": "127.0.0.1", "8080": port}
    words = [here.get(word, word) for word in [*server["command"], *server["args"]]]
    command = shlex.split(placed(" ".join(words), registry, tmp_path))
    programs = Path(sys.executable).parent  # MLflow starts uvicorn by its name
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            env=os.environ
            | {"PYTHONPATH": str(REPO / "src"), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        answered = False
        deadline = time.monotonic() + 200
        while not answered:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
            with contextlib.suppress(OSError):
                ping = f"http://127.0.0.1:{port}{server['readinessProbe']['httpGet']['path']}"
                with urllib.request.urlopen(ping, timeout=5) as answer:
                    answered = answer.status == 200
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def stack_commands() -> Iterator[list[str]]:
    """`zenml COMPONENT register ...` of the page."""
    text = (REPO / "docs" / "deploy" / "kubernetes.md").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if re.match(r"zenml [\w-]+ register .*--flavor", line):
            yield shlex.split(line)


def options_of(words: list[str]) -> dict[str, str]:
    return dict(word[2:].split("=", 1) for word in words if word.startswith("--"))


@pytest.mark.parametrize("words", [*stack_commands()], ids=lambda words: " ".join(words[1:4]))
def test_a_component_takes_the_options_of_the_page(words: list[str]) -> None:
    """The page's own test registers them; its flavors let an unknown option pass."""
    options = options_of(words)
    flavor = _flavors()[options.pop("flavor"), words[1]]
    assert options.keys() <= flavor.model_fields.keys()
    # References to secrets are resolved in ZenML's store, which has none here.
    flavor(**{name: re.sub(r"\{\{.*\}\}", "secret", value) for name, value in options.items()})


def _flavors() -> dict[tuple[str, str], Any]:
    from zenml.container_registries import DefaultContainerRegistryFlavor
    from zenml.integrations.kaniko.flavors import KanikoImageBuilderFlavor
    from zenml.integrations.kubeflow.flavors import KubeflowOrchestratorFlavor
    from zenml.integrations.kubernetes.flavors import KubernetesOrchestratorFlavor
    from zenml.integrations.mlflow.flavors import MLFlowExperimentTrackerFlavor
    from zenml.integrations.s3.flavors import S3ArtifactStoreFlavor

    found = (
        DefaultContainerRegistryFlavor,
        KanikoImageBuilderFlavor,
        KubeflowOrchestratorFlavor,
        KubernetesOrchestratorFlavor,
        MLFlowExperimentTrackerFlavor,
        S3ArtifactStoreFlavor,
    )
    flavors = [each() for each in found]
    return {(each.name, each.type.value.replace("_", "-")): each.config_class for each in flavors}
