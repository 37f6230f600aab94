"""From components and pipelines to YAML, with the image that the pods shall run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from kfp import compiler

from camgate import kubeflow
from camgate.kubeflow.image import DEFAULT_IMAGE
from camgate.kubeflow.pipelines.heatmap_gate.pipeline import heatmap_gate


def with_image(part: Any, image: str) -> Any:
    """A copy of a component or pipeline whose containers run another image.

    Args:
        part: a component, or a pipeline of components, as KFP knows them.
        image: that holds camgate with its extra `kubeflow`.
    """
    made = copy.deepcopy(part)
    if made.component_spec.implementation.container is not None:
        made.component_spec.implementation.container.image = image
        return made
    for executor in made.pipeline_spec.deployment_spec["executors"].values():
        executor["container"]["image"] = image
    return made


def write_yaml(path: str | Path, *, image: str = DEFAULT_IMAGE, part: Any = heatmap_gate) -> Path:
    """Compile a pipeline or a component.

    Args:
        path: of the YAML file.
        image: that the containers run.
        part: what to compile; by default the pipeline `heatmap_gate`.

    Returns:
        The path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(with_image(part, image), str(target))
    return target


def committed() -> dict[Path, Any]:
    """Where the compiled YAML of each component and of the pipeline is kept, beside its code."""
    root = Path(kubeflow.__file__).parent
    kept = {root / "components" / name / "component.yaml": name for name in kubeflow.COMPONENTS}
    kept[root / "pipelines" / "heatmap_gate" / "pipeline.yaml"] = "heatmap_gate"
    return {path: getattr(kubeflow, name) for path, name in kept.items()}
