"""The services of `compose.yaml` as processes of this machine: which command, environment and order.

Nothing here starts anything. Addresses of containers become loopback ports, volumes become folders; all else
is what the file says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

COMPOSE = Path(__file__).with_name("compose.yaml")
PORTS = {"postgres": 5432, "s3": 9000, "mlflow": 5000, "zenml": 8080}
"""Where each server listens in its container."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class Service:
    """One service as a process.

    Attributes:
        name: of the service.
        image: of the container.
        port: on loopback, where it is a server.
        command: entrypoint and arguments.
        environment: what the file sets, and nothing else.
        healthcheck: a command that succeeds once the service answers; empty where the file has none.
        volumes: path in the container -> folder or file here.
        files: path here -> text, to be written before the start (the file's `configs`).
        after: names of the services that must be healthy first.
    """

    name: str
    image: str
    port: int | None
    command: tuple[str, ...]
    environment: dict[str, str]
    healthcheck: tuple[str, ...]
    volumes: dict[str, Path]
    files: dict[Path, str]
    after: tuple[str, ...]

    @property
    def tag(self) -> str:
        """Of the image."""
        return self.image.partition(":")[2]


def read_services(
    folder: Path, ports: Mapping[str, int], variables: Mapping[str, str], path: Path = COMPOSE
) -> dict[str, Service]:
    """All services of the file, in an order in which they can be started.

    Args:
        folder: holds the volumes, each under its name.
        ports: service -> free port on loopback.
        variables: for `${NAME:-default}`.
        path: of the compose file.

    Raises:
        KeyError: a variable without default is not set.
    """
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(_interpolated(text, variables))
    texts = {name: here(entry["content"], ports) for name, entry in content.get("configs", {}).items()}
    services = {}
    for name, entry in content["services"].items():
        mounted = [line.split(":")[:2] for line in entry.get("volumes", ())]
        volumes = {
            target: (path.parent / source).resolve() if source.startswith(".") else folder / source
            for source, target in mounted
        }
        files = {one["target"]: folder / one["source"] for one in entry.get("configs", ())}
        written = {folder / one["source"]: texts[one["source"]] for one in entry.get("configs", ())}
        services[name] = _service(name, entry, ports, volumes | files, written)
    return {name: services[name] for name in _ordered(services)}


def here(text: str, ports: Mapping[str, int], volumes: Mapping[str, Path] | None = None) -> str:
    """A text of the file with this machine's addresses and paths instead of the containers'."""
    rules = [(r"--host=0\.0\.0\.0", "--host=127.0.0.1")]
    for name, port in ports.items():
        inside, outside = PORTS[name], f"127.0.0.1:{port}"
        rules += [
            (rf"(?<=//){name}:{inside}\b", outside),
            (rf"(?<=@){name}:{inside}\b", outside),
            (rf"\b(?:0\.0\.0\.0|127\.0\.0\.1):{inside}\b", outside),
            (rf"--port={inside}\b", f"--port={port}"),
            (rf"^{inside}$", str(port)),
        ]
    for target, folder in (volumes or {}).items():
        rules.append((rf"(?<![\w/.]){re.escape(target)}(?![\w.-])", str(folder)))
    # All at once: what one rule has written is not for another to change.
    either = re.compile("|".join(f"({pattern})" for pattern, _ in rules))
    return either.sub(lambda match: rules[(match.lastindex or 0) - 1][1], text)


def _service(
    name: str,
    entry: dict[str, Any],
    ports: Mapping[str, int],
    paths: dict[str, Path],
    files: dict[Path, str],
) -> Service:
    def translated(words: Iterable[str]) -> tuple[str, ...]:
        return tuple(here(word, ports, paths) for word in words)

    check = entry.get("healthcheck", {}).get("test", ["CMD"])
    if check[0] != "CMD":
        raise ValueError(f"{name}: write the health check as [CMD, ...]")
    return Service(
        name=name,
        image=entry["image"],
        port=ports.get(name),
        command=translated([*entry.get("entrypoint", ()), *entry["command"]]),
        environment={key: here(value, ports, paths) for key, value in entry.get("environment", {}).items()},
        healthcheck=translated(check[1:]),
        volumes={target: path for target, path in paths.items() if path not in files},
        files=files,
        after=tuple(entry.get("depends_on", ())),
    )


def _interpolated(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        return variables.get(name) or (variables[name] if default is None else default)

    return _VARIABLE.sub(value, text)


def _ordered(services: Mapping[str, Service]) -> list[str]:
    done: list[str] = []
    while len(done) < len(services):
        ready = [
            name for name, service in services.items() if name not in done and set(service.after) <= set(done)
        ]
        if not ready:
            raise ValueError("the services wait for each other")
        done += ready
    return done
