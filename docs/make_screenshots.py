"""Pictures of the demo's evidence in MLflow's and ZenML's own pages: `docs/images/ui-*.png`.

    camgate demo --workdir demo
    python -m venv dashboard && dashboard/bin/pip install "zenml[server]==0.98.0"
    python docs/make_screenshots.py demo --zenml-python dashboard/bin/python

Starts both servers on loopback and looks at them with headless Chromium. ZenML's dashboard needs an
environment of its own, for what `zenml[server]` asks for cannot be installed beside MLflow; without
`--zenml-python` its pictures are left out.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1440, "height": 900}


@contextmanager
def _serving(command: list[str], **environment: str) -> Iterator[str]:
    """The address of a server on loopback, ended with its children."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                _ask(url, "/health")
                break
            except OSError:
                time.sleep(1)
        else:
            sys.exit(f"{' '.join(command)} did not answer: run it by hand to see why")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _ask(url: str, path: str, content: dict[str, Any] | None = None) -> bytes:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(  # noqa: S310 - loopback
        url + path, body, {"Content-Type": "application/json"}, method="GET" if body is None else "PUT"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return bytes(answer.read())


def _take(page: Page, name: str, seconds: float = 5.0) -> None:
    page.wait_for_timeout(1000 * seconds)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)
    print(IMAGES / f"{name}.png")


def _mlflow(page: Page, demo: Path) -> None:
    store = f"sqlite:///{demo / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--backend-store-uri", store]
    with _serving(command, MLFLOW_DISABLE_TELEMETRY="true") as url:
        client = MlflowClient(url)
        experiment = client.get_experiment_by_name("camgate-demo")
        if experiment is None:
            sys.exit(f"{demo} holds no demo; run `camgate demo --workdir {demo}` first")
        (run,) = client.search_runs([experiment.experiment_id], "tags.`camgate.verdict` = 'FAIL'")
        place = f"{url}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
        page.goto(place)
        page.wait_for_timeout(5000)
        assistant = page.get_by_role("button", name="Close")
        if assistant.count():
            assistant.last.click()
        _take(page, "ui-mlflow-run", 1)
        page.goto(f"{place}/artifacts/audit/report.html")
        _take(page, "ui-mlflow-report", 8)


def _zenml(page: Page, demo: Path, python: Path) -> None:
    home = demo / "zenml"
    command = [str(python.absolute()), "-m", "uvicorn", "zenml.zen_server.zen_server_api:app"]
    with _serving(
        [*command, "--log-level", "warning"],
        ZENML_CONFIG_PATH=str(home),
        ZENML_LOCAL_STORES_PATH=str(home / "stores"),
        ZENML_ANALYTICS_OPT_IN="false",
        ZENML_SERVER_AUTH_SCHEME="NO_AUTH",
        ZENML_SERVER_ALLOW_LOCAL_FILE_ACCESS="true",
        ZENML_STORE_URL=f"sqlite:///{next(home.rglob('zenml.db'))}",
    ) as url:
        # What the dashboard's first page would ask for.
        answers = {"primary_use": "Exploring", "finished_onboarding_survey": True}
        _ask(
            url,
            "/api/v1/current-user",
            {"full_name": "Demo", "email_opted_in": False, "user_metadata": answers},
        )
        runs = json.loads(_ask(url, "/api/v1/runs"))["items"]
        failed = next(run["id"] for run in runs if run["body"]["status"] == "failed")
        for artifact, name in (("report", "ui-zenml-report"), ("audit", "ui-zenml-pictures")):
            page.goto(f"{url}/projects/default/runs/{failed}")
            page.wait_for_timeout(5000)
            page.get_by_text(artifact, exact=True).first.click()
            page.wait_for_timeout(2000)
            page.get_by_role("tab", name="Visualization").last.click()
            # The dashboard warns of every page that could hold a script before it shows it.
            page.get_by_role("button", name="Load Preview").click()
            _take(page, name, 8)


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("demo", type=Path, help="work folder of `camgate demo`")
    parser.add_argument("--zenml-python", type=Path, help="Python of an environment with zenml[server]")
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on the path")
    demo = asked.demo.resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        _mlflow(page, demo)
        if asked.zenml_python is not None:
            _zenml(page, demo, asked.zenml_python)
        browser.close()


if __name__ == "__main__":
    main()
