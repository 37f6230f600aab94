"""Peak memory of auditing 20,000 images against 2,000, each in its own process. Writes into docs/speed.md.

python benchmarks/memory.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from speed import PAGE, machine, table, write, write_folder

from camgate.audit.runner import audit
from camgate.audit.shards import audit_in_shards
from camgate.data.preprocessing import Preprocessing
from camgate.models.builders import resnet_small
from camgate.models.classifier import Classifier

COUNTS = (2_000, 20_000)
LAYER = "stage2"  # 8 x 8 cells, as many as a large network has at 224 px; an earlier layer keeps more
WAYS = ("heatmaps and scores", "with interventions", "in 8 shards")


def peak(way: str, images: int) -> float:
    """MB, in this process."""
    torch.manual_seed(0)
    classes = [f"class {n}" for n in range(10)]
    model = Classifier(resnet_small(10).eval(), classes, Preprocessing(size=(64, 64)))
    with tempfile.TemporaryDirectory() as scratch:
        manifest = write_folder(Path(scratch, "data"), images, (120, 160))
        if way == WAYS[2]:
            result = audit_in_shards(
                model,
                manifest,
                shards=8,
                folder=Path(scratch, "parts"),
                interventions=False,
                target_layer=LAYER,
            )
        else:
            result = audit(model, manifest, interventions=way == WAYS[1], target_layer=LAYER)
        result.save(Path(scratch, "audit"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    if len(sys.argv) > 1:
        print(peak(sys.argv[1], int(sys.argv[2])))
        return
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = []
    for way in WAYS:
        found = []
        for images in COUNTS:
            command = [sys.executable, __file__, way, str(images)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(float(done.stdout.split()[-1]))
        rows.append(
            {
                "audit": way,
                **{f"{n:,} images, MB": f"{mb:.0f}" for n, mb in zip(COUNTS, found, strict=True)},
                "ratio": f"{found[1] / found[0]:.3f}",
            }
        )
        print(rows[-1], flush=True)
    note = (
        f"Measured on {machine('cpu')}; maps of 8 x 8 cells. A process that has imported the package and done"
    )
    write(PAGE, "memory", f"{table(rows)}\n\n{note} nothing: {idle:.0f} MB.")


if __name__ == "__main__":
    main()
