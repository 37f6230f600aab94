"""Stacks on Kubernetes and Kubeflow without a cluster: a server on loopback takes what is sent to theirs.

ZenML's orchestrators and the clients of both servers are the real ones; they answer here as if all had gone
well. `tests/pipelines/test_pipelines_kubernetes.py` and `…_kubeflow_orchestrator.py` look at what was sent.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import PipelineSnapshotResponse
from zenml.stack import Stack

IMAGE = "registry.example.com/team/camgate:1"
DOCKER = {"docker": {"parent_image": IMAGE, "skip_build": True, "allow_download_from_artifact_store": False}}
"""Settings of a run whose image has been built before: nothing is built or uploaded."""
ORCHESTRATOR_JOB = "orchestrator"
# What an object of each kind is, where the client leaves it to the address that it is sent to.
KINDS = {
    "cronjobs": ("batch/v1", "CronJob"),
    "jobs": ("batch/v1", "Job"),
    "rolebindings": ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    "serviceaccounts": ("v1", "ServiceAccount"),
}


@dataclass
class Cluster:
    """What was sent to the server.

    Attributes:
        url: of the server.
        posted: (path, body) in order.
    """

    url: str
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def manifests(self, kind: str) -> list[dict[str, Any]]:
        """Objects of Kubernetes of a kind, each valid by the schemas of Kubernetes itself."""
        found = []
        for path, body in self.posted:
            place = path.rsplit("/", 1)[-1]
            if place not in KINDS:
                continue
            version, name = KINDS[place]
            manifest = {"apiVersion": version, "kind": name, **body}
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
            if name == kind:
                found.append(manifest)
        return found

    def bodies(self, place: str) -> list[dict[str, Any]]:
        """What was posted to a collection of Kubeflow Pipelines, such as `runs`."""
        return [body for path, body in self.posted if path == f"/apis/v2beta1/{place}"]


@contextmanager
def listening() -> Iterator[Cluster]:
    """Answer both APIs on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.cluster = Cluster(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.cluster  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Whatever is sent is made. Of it all but the specification goes back, without its defaults."""
        body = self._body()
        self.server.cluster.posted.append((self.path, body))  # type: ignore[attr-defined]
        names = {"experiment_id": "1", "run_id": "1", "recurring_run_id": "1"}
        self._answer(201, {key: value for key, value in body.items() if key != "spec"} | names)

    def do_PATCH(self) -> None:
        """The orchestrator's pod notes the run at its own job."""
        self._answer(200, self._body())

    def do_GET(self) -> None:
        """Any pod belongs to the orchestrator's job, any job has come to its end, nothing else is there."""
        place, name = self.path.split("?")[0].rsplit("/", 2)[-2:]
        if place == "pods":
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": ORCHESTRATOR_JOB, "uid": "1"}
            labels = {"job-name": ORCHESTRATOR_JOB}
            self._answer(200, {"metadata": {"name": name, "labels": labels, "ownerReferences": [owner]}})
        elif place == "jobs":
            done = [{"type": "Complete", "status": "True"}]
            self._answer(200, {"metadata": {"name": name}, "status": {"conditions": done}})
        else:
            self._answer(200, {})

    def _body(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return content

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing on stderr."""


def activate_stack(flavor: str, configuration: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    """Make a stack with the orchestrator, and the active one.

    ZenML wants a server of its own for a stack out of reach; here its pods never come to ask it.
    """
    patch.setattr(Stack, "requires_remote_server", property(lambda stack: False))
    patch.setenv("ZENML_PREVENT_CLIENT_SIDE_CACHING", "true")
    patch.setenv("ZENML_DISABLE_PIPELINE_LOGS_STORAGE", "true")  # in the artifact store, which is not there
    client = Client()
    parts = {
        StackComponentType.ORCHESTRATOR: (flavor, {"synchronous": False, **configuration}),
        StackComponentType.ARTIFACT_STORE: ("s3", {"path": "s3://bucket/zenml"}),
        StackComponentType.CONTAINER_REGISTRY: ("default", {"uri": "registry.example.com"}),
        StackComponentType.IMAGE_BUILDER: ("local", {}),
    }
    for kind, (part, options) in parts.items():
        client.create_stack_component(name=flavor, flavor=part, component_type=kind, configuration=options)
    client.create_stack(name=flavor, components=dict.fromkeys(parts, flavor))
    client.activate_stack(flavor)


def write_kubeconfig(path: Path, url: str) -> Path:
    """So that the client of Kubernetes finds the server, by the context `loopback`."""
    entry = {"name": "loopback"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "loopback",
        "clusters": [{**entry, "cluster": {"server": url}}],
        "users": [{**entry, "user": {}}],
        "contexts": [{**entry, "context": {"cluster": "loopback", "user": "loopback"}}],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def submitted() -> PipelineSnapshotResponse:
    """The newest pipeline as compiled."""
    return Client().list_snapshots(sort_by="desc:created", size=1, hydrate=True, named_only=False).items[0]
