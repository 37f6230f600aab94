"""Small files of a run: written and read by path; and where people find them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from camgate.registry import names, times
from camgate.registry.connection import connected, without_credentials


def log_files(run_id: str, files: Mapping[str, str | bytes], *, tracking_uri: str | None = None) -> None:
    """Write files into a run.

    Args:
        run_id: where to.
        files: path below the run's artifacts -> content.
        tracking_uri: None takes MLflow's own.

    Raises:
        RegistryError: MLflow fails.
    """
    with (
        connected(tracking_uri, doing=f"write files to run {run_id}") as client,
        tempfile.TemporaryDirectory(prefix="camgate-files-") as scratch,
    ):
        for path, content in files.items():
            file = Path(scratch, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        client.log_artifacts(run_id, scratch)


def read_file(run_id: str, path: str, *, tracking_uri: str | None = None) -> str | None:
    """The text of a file of a run; None where the run is gone or has no such file.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    folder, _, _ = path.rpartition("/")
    with connected(tracking_uri, doing=f"read {path} of run {run_id}") as client:
        try:
            held = [entry.path for entry in client.list_artifacts(run_id, folder or None)]
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if path not in held:
            return None
        with tempfile.TemporaryDirectory(prefix="camgate-files-") as scratch:
            return Path(client.download_artifacts(run_id, path, scratch)).read_text(encoding="utf-8")


def read_folder(run_id: str, folder: str, *, tracking_uri: str | None = None) -> dict[str, str]:
    """The text of each file of a folder of a run, by name; empty where there is no such folder.

    Raises:
        RegistryError: no such run, or MLflow cannot be reached.
    """
    with connected(tracking_uri, doing=f"read {folder} of run {run_id}") as client:
        if not client.list_artifacts(run_id, folder):
            return {}
        with tempfile.TemporaryDirectory(prefix="camgate-files-") as scratch:
            local = Path(client.download_artifacts(run_id, folder, scratch))
            return {file.name: file.read_text(encoding="utf-8") for file in sorted(local.iterdir())}


def run_links(
    run_id: str, paths: Mapping[str, str], *, tracking_uri: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Where people find a run and files of it: pages of MLflow's server, or files where there is no server.

    Args:
        run_id: the run.
        paths: text of the link -> path below the run's artifacts; the run's own page comes first.
        tracking_uri: None takes MLflow's own.

    Returns:
        (text, address), without credentials; an address that is no URL is a place on a disk.
    """
    with connected(tracking_uri, doing=f"look for run {run_id}") as client:
        run = client.get_run(run_id).info
        base = without_credentials(client.tracking_uri).rstrip("/")
        if base.startswith(("http:", "https:")):
            page = f"{base}/#/experiments/{run.experiment_id}/runs/{run_id}"
            return (
                ("MLflow run", page),
                *((text, f"{page}/artifacts/{quote(path)}") for text, path in paths.items()),
            )
        root = without_credentials(run.artifact_uri).rstrip("/")
        root = unquote(root.removeprefix("file://")) if root.startswith("file://") else root
        return ("MLflow run", run_id), *((text, f"{root}/{path}") for text, path in paths.items())


def tag_run(run_id: str, tags: Mapping[str, str], *, tracking_uri: str | None = None) -> None:
    """Set tags of a run; long ones are cut."""
    with connected(tracking_uri, doing=f"tag run {run_id}") as client:
        for key, value in tags.items():
            client.set_tag(run_id, key, names.shortened(value, names.LONGEST_TAG))


def log_numbers(
    run_id: str,
    values: Mapping[str, float],
    *,
    prefix: str = "",
    step: int = 0,
    when: datetime | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Log metrics.

    Args:
        run_id: where to.
        values: name -> number; what is not finite is left out.
        prefix: of the names.
        step: of all of them, as MLflow's charts count.
        when: of all of them; None is now.
        tracking_uri: None takes MLflow's own.
    """
    stamp = int((when or times.now()).timestamp() * 1000)
    batch = [Metric(key, value, stamp, step) for key, value in names.metrics(values, prefix).items()]
    with connected(tracking_uri, doing=f"log numbers to run {run_id}") as client:
        for start in range(0, len(batch), 1000):
            client.log_batch(run_id, metrics=batch[start : start + 1000])
