"""The pipeline on this machine, each component in a process of its own: no cluster, no container."""

import warnings
from pathlib import Path
from typing import Any

from kfp import dsl, local

from camgate.kubeflow.pipelines.heatmap_gate.pipeline import heatmap_gate


def run_locally(outputs: str | Path, **arguments: Any) -> None:
    """Run `heatmap_gate` through `kfp.local` in this Python environment and wait for it.

    Args:
        outputs: folder that receives the artifacts, a folder for each run and component.
        arguments: of `heatmap_gate`, no None among them.

    Raises:
        RuntimeError: a component failed; its output says why. `enforce_verdict` fails where the gate blocks.
    """

    # kfp.local loops only where the outermost pipeline itself has a loop or a condition.
    @dsl.pipeline(name="camgate-local")
    def once() -> None:
        with dsl.ParallelFor(items=["here"]):
            heatmap_gate(**arguments)

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(Path(outputs).absolute()))
    with warnings.catch_warnings():
        # They spell it so.
        warnings.filterwarnings("ignore", "You may be attemping to run a task", RuntimeWarning)
        once()
