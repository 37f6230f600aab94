"""`python -m camgate.kubeflow`: compile the pipeline, or one component, for an image of your own."""

from __future__ import annotations

import argparse
import sys

from camgate import kubeflow
from camgate.kubeflow.image import DEFAULT_IMAGE


def main() -> None:
    """Compile what is asked for, and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m camgate.kubeflow", description=__doc__)
    parser.add_argument("--image", default=DEFAULT_IMAGE, help="holds camgate with its extra `kubeflow`")
    parser.add_argument("--out", default="pipeline.yaml", help="the YAML file")
    parser.add_argument(
        "--part",
        default="heatmap_gate",
        choices=("heatmap_gate", *kubeflow.COMPONENTS),
        help="the pipeline (default) or one component",
    )
    given = parser.parse_args()
    try:
        write, part = kubeflow.write_yaml, getattr(kubeflow, given.part)
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {error}")
    print(write(given.out, image=given.image, part=part))


if __name__ == "__main__":
    main()
