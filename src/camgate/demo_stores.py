"""Where the demo keeps its runs: in its work folder, or on the servers that are configured."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from camgate.errors import InputError


def own_environment(root: Path) -> None:
    """Keep ZenML's and MLflow's state inside the work folder, for this process only.

    Raises:
        InputError: ZenML or MLflow is loaded already.
    """
    if "zenml" in sys.modules or "mlflow" in sys.modules:
        raise InputError(
            "start the demo in a fresh process (`camgate demo`): ZenML or MLflow is loaded already."
        )
    os.environ.update(
        ZENML_CONFIG_PATH=str(root / "zenml"),
        ZENML_LOCAL_STORES_PATH=str(root / "zenml" / "stores"),
    )
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID", "ZENML_STORE_URL"):
        os.environ.pop(name, None)


def quiet_environment() -> None:
    """The demo's own words are what is read."""
    os.environ.update(
        ZENML_ANALYTICS_OPT_IN="false",
        ZENML_LOGGING_VERBOSITY="CRITICAL",
        ZENML_ENABLE_RICH_TRACEBACK="false",
        ZENML_DISABLE_STEP_LOGS_STORAGE="true",
        MLFLOW_DISABLE_TELEMETRY="true",
    )


def own_stores(root: Path, experiment: str) -> dict[str, str]:
    """Make an MLflow store in the work folder; how its pages are seen."""
    from camgate.registry.connection import prepare_local_store

    os.environ["MLFLOW_TRACKING_URI"] = prepare_local_store(root, experiment)
    checkout = root == Path("demo").resolve() and Path("src/camgate").is_dir()
    command = "make ui" if checkout else f"mlflow ui --backend-store-uri sqlite:///{root / 'mlflow.db'}"
    return {"MLflow": command}


def configured_stores() -> dict[str, str]:
    """Where the active ZenML stack keeps runs and versions.

    Raises:
        InputError: no MLflow is configured.
    """
    from zenml.client import Client

    from camgate.registry.connection import without_credentials
    from camgate.steps._tracking import stack_tracker

    client = Client()
    stack = client.active_stack_model.name
    uri = stack_tracker()[0] or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise InputError(
            f"--stack: the ZenML stack {stack!r} has no MLflow experiment tracker and MLFLOW_TRACKING_URI is "
            "not set; set it to the address of an MLflow server."
        )
    return {
        "MLflow": without_credentials(uri),
        "ZenML": f"{without_credentials(client.zen_store.url)}, stack {stack}",
    }
