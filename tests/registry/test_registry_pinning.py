from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from camgate.cli import app
from camgate.errors import InputError, PolicyError, RegistryError
from camgate.gate.policy import Policy
from camgate.registry.pinning import pin_policy, pinned_policy


def test_a_pin_is_kept_and_replaced(store: str) -> None:
    with pytest.raises(RegistryError, match="read the pinned policy"):
        pinned_policy("underpass", tracking_uri=store)
    MlflowClient(store).create_registered_model("underpass")
    assert pinned_policy("underpass", tracking_uri=store) is None
    for policy in (Policy.default(), {"require_drill": True}):
        digest = pin_policy("underpass", policy, tracking_uri=store)
        assert digest == Policy.read(policy).digest() == pinned_policy("underpass", tracking_uri=store)


def test_what_cannot_be_pinned_makes_no_model(store: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such policy file"):
        pin_policy("underpass", tmp_path / "none.yaml", tracking_uri=store)
    with pytest.raises(InputError, match="cannot be called"):
        pin_policy("under/pass", Policy.default(), tracking_uri=store)
    assert not MlflowClient(store).search_registered_models()


def test_the_command(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("require_drill: true\n")
    digest = Policy.load(path).digest()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        call = ["pin-policy", "--model", "underpass", "--policy", str(path)]
        said = CliRunner().invoke(app, call)
        assert said.exit_code == 0, said.output
        assert digest in said.output
        assert json.loads(CliRunner().invoke(app, [*call, "--json"]).output) == {
            "model": "underpass",
            "policy_digest": digest,
        }
    assert pinned_policy("underpass", tracking_uri=store) == digest
