"""A smoke test of an installed camgate, without its extras: run it from an empty folder with the version.

It imports every module but those of an extra, audits a small model on the command line, and runs ZenML's
audit pipeline on it.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import camgate
from camgate.models.builders import build

SIDE = 48
POLICY = """
audit: {min_images: 10, draws: 1, target_layer: model}
sanity: {required: false}
checks: {accuracy: {min: 0.0}}
"""
CONFIGURATION = """
parameters: {data: data, model: model, policy: policy.yaml}
"""
FILES = (
    "audit.json",
    "junit.xml",
    "report.html",
    "scores.parquet",
    "summary.json",
    "summary.md",
    "verdict.json",
)
# What the extras bring; nothing else may be missing.
EXTRAS = {"kfp", "lightning", "pycocotools", "pytest", "supervision", "timm", "torchmetrics"}


def main(version: str) -> None:
    """Raise at the first thing that does not work."""
    os.environ.update(
        ZENML_CONFIG_PATH=str(Path("zenml").absolute()),
        ZENML_ANALYTICS_OPT_IN="false",
        ZENML_LOGGING_VERBOSITY="WARN",
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_TRACKING_URI=f"sqlite:///{Path('mlflow.db').absolute()}",
    )
    assert Path(camgate.__file__).is_relative_to(sys.prefix), camgate.__file__
    assert camgate.__version__ == version, camgate.__version__
    assert command("--version") == version
    modules, without = imported()
    paint(Path("data"))
    Path("policy.yaml").write_text(POLICY, encoding="utf-8")
    Path("run.yaml").write_text(CONFIGURATION, encoding="utf-8")
    torch.manual_seed(0)
    camgate.Classifier(
        build("resnet_small", {}, 2),
        ["cat", "dog"],
        camgate.Preprocessing(size=(SIDE, SIDE)),
        builder="resnet_small",
        target_layer="stage2",
    ).save("model")
    command("audit", "--model", "model", "--data", "data", "--policy", "policy.yaml", "--out", "audit")
    for name in FILES:
        assert Path("audit", name).stat().st_size > 0, name
    from camgate.report.machine import summary_schema

    assert json.loads(Path("audit/summary.json").read_text())["schema"] == summary_schema()["$id"]
    run("zenml", "pipeline", "run", "camgate.pipelines.auditing.audit_pipeline", "-c", "run.yaml")
    print(f"{modules} modules, an audit, a pipeline run; {without} modules ask for an extra")


def imported() -> tuple[int, int]:
    """Import all modules: how many there are, and how many ask for an extra."""
    count, without = 0, 0
    for module in pkgutil.walk_packages(camgate.__path__, "camgate.", onerror=_raise):
        count += 1
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if (error.name or "").split(".")[0] not in EXTRAS:
                raise
            without += 1
    assert count > 150, f"{count} modules: some are missing"
    return count, without


def _raise(name: str) -> None:
    """`walk_packages` could not import a package: only one that is an extra's may fail."""
    assert name.startswith("camgate.kubeflow."), name


def paint(folder: Path) -> None:
    """A dozen pictures of two classes, with masks."""
    chance = np.random.default_rng(0)
    for label, colour in (("cat", (200, 60, 60)), ("dog", (60, 60, 200))):
        for kind in ("images", "masks"):
            (folder / kind / label).mkdir(parents=True)
        for number in range(12):
            image = chance.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            image[16:32, 16:32], mask[16:32, 16:32] = colour, 255
            Image.fromarray(image).save(folder / "images" / label / f"{number}.png")
            Image.fromarray(mask).save(folder / "masks" / label / f"{number}.png")


def command(*arguments: str) -> str:
    """What the installed `camgate` prints."""
    return run("camgate", *arguments)


def run(program: str, *arguments: str) -> str:
    """Run a program of this environment: what it prints."""
    done = subprocess.run(
        [str(Path(sys.prefix, "bin", program)), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1])
