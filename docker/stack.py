"""Prepare the servers of `compose.yaml` for the demo: buckets, and a ZenML stack that is made active.

Reads S3_ENDPOINT and the usual variables of S3, MLflow and ZenML. Safe to run again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import s3fs
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.exceptions import EntityExistsError

NAME = "camgate"
BUCKETS = "mlflow", "zenml"


def main() -> None:
    """Make what is missing, and bring what is there up to date."""
    endpoint = os.environ["S3_ENDPOINT"]
    storage = s3fs.S3FileSystem(endpoint_url=endpoint)  # its keys are in the environment, too
    for bucket in BUCKETS:
        if not storage.exists(bucket):
            storage.mkdir(bucket)

    client = Client()
    secrets = {
        "s3_key": os.environ["AWS_ACCESS_KEY_ID"],
        "s3_secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        "mlflow_username": os.environ["MLFLOW_TRACKING_USERNAME"],
        "mlflow_password": os.environ["MLFLOW_TRACKING_PASSWORD"],
    }
    try:
        client.create_secret(NAME, secrets)
    except EntityExistsError:
        client.update_secret(NAME, add_or_update_values=secrets)
    _component(
        client,
        StackComponentType.ARTIFACT_STORE,
        "s3",
        {
            "path": "s3://zenml",
            "key": _secret("s3_key"),
            "secret": _secret("s3_secret"),
            "client_kwargs": {"endpoint_url": endpoint},
        },
    )
    _component(
        client,
        StackComponentType.EXPERIMENT_TRACKER,
        "mlflow",
        {
            "tracking_uri": os.environ["MLFLOW_TRACKING_URI"],
            "tracking_username": _secret("mlflow_username"),
            "tracking_password": _secret("mlflow_password"),
        },
    )
    with suppress(EntityExistsError):
        client.create_stack(
            NAME,
            {
                StackComponentType.ORCHESTRATOR: "default",
                StackComponentType.ARTIFACT_STORE: NAME,
                StackComponentType.EXPERIMENT_TRACKER: NAME,
            },
        )
    client.activate_stack(NAME)
    print(f"ZenML stack {NAME!r} is active on {client.zen_store.url}")


def _secret(name: str) -> str:
    """ZenML's reference to it."""
    return f"{{{{{NAME}.{name}}}}}"


def _component(client: Client, kind: StackComponentType, flavor: str, settings: dict[str, Any]) -> None:
    try:
        client.create_stack_component(NAME, flavor, kind, settings)
    except EntityExistsError:
        client.update_stack_component(NAME, kind, configuration=settings)


if __name__ == "__main__":
    main()
