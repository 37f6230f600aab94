"""Commands that tell the registry what to expect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from camgate.terminal import console


def pin_policy(
    model: Annotated[str, typer.Option(help="Registered model in MLflow; made if absent.")],
    policy: Annotated[Path, typer.Option(help="The policy (YAML) that must have judged.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Pin a policy on a registered model: a verdict by any other policy promotes nothing there.

    The registry is MLflow's own (MLFLOW_TRACKING_URI, MLFLOW_REGISTRY_URI).
    """
    from camgate.registry.pinning import pin_policy as pin

    digest = pin(model, policy)
    if as_json:
        print(json.dumps({"model": model, "policy_digest": digest}))
    else:
        console().print(f"{model} expects policy {digest}", markup=False, highlight=False)
