"""What must be on the servers of `compose.yaml` after the demo: a line a fact, or the end of the script."""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import s3fs
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from services import Service

EXPERIMENT, MODEL = "camgate-demo", "underpass-camera"


def check_all(services: Mapping[str, Service]) -> None:
    """Ask each server for what the demo left there."""
    settings = services["demo"].environment
    for name, lines in {
        "mlflow": _mlflow(services["mlflow"], settings),
        "postgres": _postgres(services["postgres"]),
        "s3": _s3(settings),
        "zenml": _zenml(settings),
    }.items():
        for line in lines:
            print(f"{name:<9} {line}", flush=True)


def _must(fact: bool, line: str, seen: object = "") -> str:
    if not fact:
        sys.exit(f"NOT TRUE: {line} {seen}")
    return line


def _mlflow(server: Service, settings: Mapping[str, str]) -> Iterator[str]:
    uri = settings["MLFLOW_TRACKING_URI"]
    os.environ.update(
        {name: value for name, value in settings.items() if name.startswith("MLFLOW_TRACKING_")}
    )
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = [] if experiment is None else client.search_runs([experiment.experiment_id])
    verdicts = sorted(run.data.tags["camgate.verdict"] for run in runs)
    yield _must(verdicts == ["FAIL", "PASS"], "two runs, one FAIL and one PASS", verdicts)
    for run in runs:
        verdict, place = run.data.tags["camgate.verdict"], run.info.artifact_uri
        page = Path(download_artifacts(f"{place}/audit/report.html", tracking_uri=uri)).read_text(
            encoding="utf-8"
        )
        over_http = place.startswith("mlflow-artifacts:") and verdict in page
        yield _must(over_http, f"report of the {verdict} run over HTTP, {len(page)} characters", place)
    versions = {str(one.version): one.tags for one in client.search_model_versions(f"name='{MODEL}'")}
    states = {number: tags["validation_status"] for number, tags in versions.items()}
    yield _must(states == {"1": "rejected", "2": "approved"}, f"{MODEL}: 1 rejected, 2 approved", states)
    champion = client.get_model_version_by_alias(MODEL, "champion")
    yield _must(str(champion.version) == "2", "champion is version 2", champion)
    login = f"{settings['MLFLOW_TRACKING_USERNAME']}:{settings['MLFLOW_TRACKING_PASSWORD']}"
    for host, who, words, expected in (
        ("mlflow:5000", login, "as mlflow:5000", 200),
        ("mlflow:5000", "admin:wrong", "with a wrong password", 401),
        ("elsewhere.example", login, "under another name", 403),
    ):
        got = _status(server, host, who)
        yield _must(got == expected, f"asked {words}: {expected}", got)


def _status(server: Service, host: str, login: str) -> int:
    """How MLflow answers under another name."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Host": host, "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    connection.request("GET", "/api/2.0/mlflow/experiments/search?max_results=1", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def _postgres(server: Service) -> Iterator[str]:
    settings = server.environment
    with (
        psycopg2.connect(
            host="127.0.0.1",
            port=server.port,
            user=settings["POSTGRES_USER"],
            password=settings["POSTGRES_PASSWORD"],
            dbname=settings["POSTGRES_DB"],
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM model_versions)")
        runs, versions = cursor.fetchone() or (0, 0)
    yield _must((runs, versions) == (2, 2), "2 rows of runs, 2 of model versions", (runs, versions))


def _s3(settings: Mapping[str, str]) -> Iterator[str]:
    storage = s3fs.S3FileSystem(
        key=settings["AWS_ACCESS_KEY_ID"],
        secret=settings["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=settings["S3_ENDPOINT"],
    )
    for bucket in ("mlflow", "zenml"):
        number = len(storage.find(bucket))
        yield _must(number > 0, f"{number} objects in bucket {bucket}")


def _zenml(settings: Mapping[str, str]) -> Iterator[str]:
    url = settings["ZENML_STORE_URL"]
    yield _must(b"<html" in _get(f"{url}/"), "the dashboard's page")
    login = urllib.parse.urlencode(
        {"username": settings["ZENML_STORE_USERNAME"], "password": settings["ZENML_STORE_PASSWORD"]}
    )
    token = json.loads(_get(f"{url}/api/v1/login", body=login.encode()))["access_token"]

    def ask(path: str) -> Any:
        return json.loads(_get(f"{url}/api/v1/{path}", token=token))

    runs = ask("runs")["items"]
    states = sorted(run["body"]["status"] for run in runs)
    yield _must(states == ["completed", "failed"], "two runs, one completed and one blocked", states)
    reports = ask("artifact_versions?artifact=report&size=10")["items"]
    yield _must(len(reports) == 2, "two reports", [one["id"] for one in reports])
    shown = ask(f"artifact_versions/{reports[0]['id']}/visualize")
    yield _must("<html" in str(shown["value"]), "a report, read by the server from S3")
    yield _must(_refused(f"{url}/api/v1/runs"), "nothing without a login")


def _get(url: str, *, token: str | None = None, body: bytes | None = None) -> bytes:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return bytes(answer.read())


def _refused(url: str) -> bool:
    try:
        _get(url)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    return False
