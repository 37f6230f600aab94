"""The compose file: valid, consistent, and read as what `make test-stack` runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
COMPOSE = REPO / "docker" / "compose.yaml"
PORTS = {"postgres": 11, "s3": 22, "mlflow": 33, "zenml": 44}


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_it_follows_the_compose_specification(tmp_path: Path) -> None:
    done = check(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:"))
    assert check(broken).returncode != 0


def test_versions_are_those_of_the_constraints(content: dict[str, Any]) -> None:
    pinned = dict(
        line.split("==") for line in (REPO / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert content["services"]["zenml"]["image"] == f"zenmldocker/zenml-server:{pinned['zenml']}"
    for name, service in content["services"].items():
        assert service["image"] == "camgate" or ":" in service["image"], f"{name}: no version"


def test_what_is_referred_to_is_there(content: dict[str, Any]) -> None:
    mounted = {line.split(":")[0] for one in content["services"].values() for line in one.get("volumes", ())}
    assert {name for name in mounted if not name.startswith(".")} == set(content["volumes"])
    assert all((COMPOSE.parent / name).is_file() for name in mounted if name.startswith("."))
    build = content["services"]["demo"]["build"]
    assert (COMPOSE.parent / build["context"]).resolve() == REPO
    assert (REPO / build["dockerfile"]).is_file()


def test_ports_are_open_on_this_machine_alone(content: dict[str, Any]) -> None:
    published = [port for one in content["services"].values() for port in one.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_server_is_waited_for(content: dict[str, Any]) -> None:
    for service in content["services"].values():
        for name, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in content["services"][name]


def test_services_become_processes_of_this_machine(tmp_path: Path) -> None:
    from services import read_services

    services = read_services(tmp_path, PORTS, {"POSTGRES_PASSWORD": "other"})
    assert list(services)[-1] == "demo"
    mlflow, demo = services["mlflow"], services["demo"]
    assert mlflow.command[:4] == ("mlflow", "server", "--host=127.0.0.1", "--port=33")
    assert "--backend-store-uri=postgresql://mlflow:other@127.0.0.1:11/mlflow" in mlflow.command
    # names that MLflow answers to are no addresses, and stay as they are
    assert "--allowed-hosts=mlflow:5000,localhost:*,127.0.0.1:*" in mlflow.command
    assert mlflow.environment["MLFLOW_S3_ENDPOINT_URL"] == "http://127.0.0.1:22"
    ((users, text),) = mlflow.files.items()
    assert mlflow.environment["MLFLOW_AUTH_CONFIG_PATH"] == str(users)
    assert "postgresql://mlflow:other@127.0.0.1:11/mlflow" in text
    assert services["s3"].command[-1] == str(tmp_path / "s3")
    assert services["s3"].healthcheck == ("nc", "-z", "127.0.0.1", "22")
    assert services["zenml"].environment["ZENML_CONFIG_PATH"] == str(tmp_path / "zenml")
    assert demo.environment["ZENML_STORE_URL"] == "http://127.0.0.1:44"
    assert f"python {REPO / 'docker' / 'stack.py'}\n" in demo.command[-1]
    assert f"--workdir {tmp_path / 'demo' / 'demo'}" in demo.command[-1]


def test_nothing_of_a_container_is_left(tmp_path: Path) -> None:
    from services import PORTS as INSIDE
    from services import read_services

    for service in read_services(tmp_path, PORTS, {}).values():
        text = "\n".join([*service.command, *service.healthcheck, *service.environment.values()])
        text = text.replace("--allowed-hosts=mlflow:5000", "")
        left = [str(port) for port in INSIDE.values() if str(port) in text]
        assert not left, f"{service.name}: {left} in\n{text}"


def test_a_variable_without_default_must_be_set(tmp_path: Path) -> None:
    from services import read_services

    other = tmp_path / "compose.yaml"
    other.write_text("services: {a: {image: x, command: ['${SECRET}']}}")
    with pytest.raises(KeyError, match="SECRET"):
        read_services(tmp_path, {}, {}, other)
    assert read_services(tmp_path, {}, {"SECRET": "s"}, other)["a"].command == ("s",)
