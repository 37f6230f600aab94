"""The Dockerfile: linted, and its promises read from its instructions. `docker/try_build.py` runs them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOCKERFILE = REPO / "docker" / "Dockerfile"
BIN = Path(sys.executable).parent


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.read_text().replace("--no-install-recommends ", ""))
    done = subprocess.run([BIN / "hadolint", worse], capture_output=True, text=True)
    assert done.returncode != 0
    assert "DL3015" in done.stdout


def test_what_is_left_runs_as_nobody_special_and_says_what_it_is() -> None:
    from recipe import read_recipe

    *_, last = read_recipe({"VERSION": "1.2", "BASE_IMAGE": "debian:12"})
    assert last.user.split(":")[0] not in ("0", "root")
    assert last.healthcheck == ["camgate", "--version"]
    assert last.entrypoint == ["camgate"]
    label = "org.opencontainers.image"
    assert last.labels[f"{label}.version"] == "1.2"
    assert last.labels[f"{label}.base.name"] == "debian:12"
    assert last.labels[f"{label}.licenses"] == "Apache-2.0"
    assert last.environment["PATH"].startswith("/opt/camgate/bin:")
    # the tools of the build stay behind
    assert [step.words for step in last.steps if step.kind == "COPY"] == [("/opt/camgate", "/opt/camgate")]


@pytest.mark.parametrize(
    ("torch", "arguments"),
    [
        ("cpu", "--no-deps --index-url https://download.pytorch.org/whl/cpu torch torchvision"),
        ("cu130", "--no-deps --index-url https://download.pytorch.org/whl/cu130 torch torchvision"),
        ("cuda", "torch torchvision"),
    ],
)
def test_the_argument_chooses_where_torch_comes_from(torch: str, arguments: str, tmp_path: Path) -> None:
    from recipe import read_recipe

    (step,) = [
        step
        for stage in read_recipe({"TORCH": torch})
        for step in stage.steps
        if step.kind == "RUN" and " torchvision" in step.words[0]
    ]
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "$@"\n')
    pip.chmod(0o755)
    environment = {**step.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(
        ["/bin/sh", "-c", *step.words], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == f"install --constraint constraints.txt {arguments}"


def test_the_extras_exist() -> None:
    from recipe import read_recipe

    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = read_recipe()[0].arguments["EXTRAS"].split(",")
    assert "stack" in wanted
    assert set(wanted) <= set(extras)


def test_the_context_is_what_the_recipe_copies_and_no_more() -> None:
    from recipe import context_files, read_recipe

    copied = {
        word
        for stage in read_recipe()
        for step in stage.steps
        if step.kind == "COPY" and step.source is None
        for word in step.words[:-1]
    }
    context = context_files(REPO)
    assert {path.parts[0] for path in context} - {".dockerignore"} == copied
    assert Path("src/camgate/steps") in context, "the link, not what it points to"
    assert (REPO / "src/camgate/steps").is_symlink()
    assert Path("steps/gate.py") in context
    assert not [path for path in context if path.suffix == ".pyc"]


def test_an_instruction_that_nobody_runs_is_an_error(tmp_path: Path) -> None:
    from recipe import read_recipe

    other = tmp_path / "Dockerfile"
    other.write_text("FROM debian:12-slim\nADD x /x\n")
    with pytest.raises(ValueError, match="ADD"):
        read_recipe(path=other)
    with pytest.raises(ValueError, match="TROCH"):
        read_recipe({"TROCH": "cpu"})
