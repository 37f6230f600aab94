"""A Dockerfile as data: its stages and instructions, with arguments and variables filled in.

Knows what `docker/Dockerfile` uses; anything else is an error, so that nothing is skipped in silence.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

DOCKERFILE = Path(__file__).with_name("Dockerfile")
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Step:
    """Something that changes a stage's files.

    Attributes:
        kind: `RUN`, `COPY` or `WORKDIR`.
        words: the command of RUN as one text; sources and, last, the target of COPY; a folder.
        environment: variables and arguments at this point.
        workdir: where it happens.
        source: of `COPY --from`; None is the build context.
    """

    kind: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    workdir: str
    source: str | None = None


@dataclass
class Stage:
    """One FROM and what follows.

    Attributes:
        base: image, or name of an earlier stage.
        name: after AS.
        steps: in their order.
        environment: of what runs in the image; `arguments` are gone by then.
        arguments: of the build.
        labels: of the image.
        workdir: absolute.
        user: `uid:gid`.
        healthcheck: its command.
        entrypoint: first words of what runs.
        command: the others, by default.
    """

    base: str
    name: str | None = None
    steps: list[Step] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BASE_PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """What a RUN sees."""
        return {**self.arguments, **self.environment}


def read_recipe(build_args: Mapping[str, str] | None = None, path: Path = DOCKERFILE) -> list[Stage]:
    """The stages of a Dockerfile.

    Args:
        build_args: as of `docker build --build-arg`.
        path: of the file.

    Raises:
        ValueError: an instruction, an option or a build argument that is not known here.
    """
    given, before, stages = dict(build_args or {}), {}, list[Stage]()
    wanted = set(given)
    for instruction in DockerfileParser(str(path)).structure:
        kind, value = instruction["instruction"], instruction["value"]
        if kind == "COMMENT":
            continue
        if kind == "ARG":
            name, _, default = value.partition("=")
            wanted.discard(name)
            known = stages[-1].variables if stages else before
            default = _filled(default, known) if "=" in value else before.get(name, "")
            found = given.get(name, default)
            (stages[-1].arguments if stages else before)[name] = found
        elif kind == "FROM":
            words = _filled(value, before).split()
            stages.append(Stage(base=words[0], name=words[2] if len(words) == 3 else None))
        else:
            _apply(stages[-1], kind, value)
    if wanted:
        raise ValueError(f"{path.name} has no build argument {', '.join(sorted(wanted))}")
    return stages


def context_files(repository: Path) -> list[Path]:
    """What `docker build .` would send, by `.dockerignore`: files and links, relative and sorted."""
    lines = (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    found = [Path(name) for name in exclude_paths(str(repository), patterns)]
    return sorted(
        path
        for path in found
        if ((repository / path).is_symlink() or (repository / path).is_file())
        and not any((repository / parent).is_symlink() for parent in path.parents)
    )


def _apply(stage: Stage, kind: str, value: str) -> None:
    here = stage.variables
    match kind:
        case "ENV":
            stage.environment |= _pairs(value, here)
        case "LABEL":
            stage.labels |= _pairs(value, here)
        case "WORKDIR":
            stage.workdir = os.path.join(stage.workdir, _filled(value, here))
            stage.steps.append(Step(kind, (stage.workdir,), here, stage.workdir))
        case "USER":
            stage.user = value
        case "RUN":
            stage.steps.append(Step(kind, (value,), here, stage.workdir))
        case "COPY":
            words = _filled(value, here).split()
            source = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
            if any(word.startswith("--") for word in words):
                raise ValueError(f"COPY {value}: unknown option")
            stage.steps.append(Step(kind, tuple(words), here, stage.workdir, source))
        case "HEALTHCHECK":
            stage.healthcheck = list(json.loads(value[value.index("CMD") + 3 :]))
        case "ENTRYPOINT":
            stage.entrypoint = list(json.loads(value))
        case "CMD":
            stage.command = list(json.loads(value))
        case _:
            raise ValueError(f"instruction {kind} is not known to {Path(__file__).name}")


def _pairs(value: str, variables: Mapping[str, str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(value))
    return {name: _filled(text, variables) for name, _, text in pairs}


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)
