"""What audits of large sets cost: measured here, then worked out. Writes the tables of docs/scale.md.

python benchmarks/scale.py [--networks NAME ...] [--device cuda] [--json FILE] [--measured FILE]

On a CPU one thread works, and what is counted is its processor time: one core, even where other programs run,
though these slow it down. On a quiet machine all takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import NETWORKS, batch_of, classifier, scored, table, write, write_folder
from stragglers import Case, repeat

from camgate.audit.baselines import baselines
from camgate.audit.clusters import clusters_of
from camgate.audit.onepass import Pass
from camgate.audit.shards import Shard, merge_shards, score_shard
from camgate.data.dataset import ImageDataset
from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.heatmaps.explainers import Explainer

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
EXAMPLE = "resnet50"
COUNTS = (10**5, 10**7, 10**9)
BATCH = 16
FILES = 192
"""Files that are read and scored for the costs beside the network."""
PUBLISHED = {
    # Images a second of plain inference with autocast, channels last, batch 1024, on an NVIDIA RTX 3090:
    # results/benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv of github.com/huggingface/pytorch-image-models.
    "resnet18": 11188.75,
    "resnet50": 3729.86,
    "mobilenet_v3_large": 13556.89,
    "efficientnet_b0": 8241.40,
}
# Assumed in the examples.
STORAGE = 1.25e9  # bytes a second that the storage gives to all workers together (10 Gbit/s)
MEMORY = 64e9  # bytes of the machine that merges
CORES_OF_GPU = 16  # beside a GPU, for decoding

Rows = list[dict[str, Any]]


def seconds(call: Callable[[], object], device: str) -> float:
    """Processor time on a CPU, time by the clock on a GPU."""
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compute(names: Sequence[str], device: str) -> dict[str, float]:
    """Images a second with maps and scores at the last stage, of a batch in memory."""
    found = {}
    for name in names:
        model = classifier(name, device)
        images, regions = (each[:BATCH] for each in batch_of(model))
        with Explainer(model, layer=NETWORKS[name][0], method="gradcam") as explainer:
            audit = scored(explainer, images, regions)
            audit()
            found[name] = BATCH / min(seconds(audit, device) for _ in range(2))
        print(f"{name}: {found[name]:.1f} images a second", flush=True)
    return found


def beside(device: str) -> dict[str, float]:
    """What an image costs beside the network: seconds and bytes."""
    model = classifier("resnet18", device)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        manifest = write_folder(Path(scratch, "data"), FILES, different=FILES)
        paths = [*manifest["image"], *manifest["region"]]
        found["bytes read"] = sum(os.path.getsize(path) for path in paths) / FILES
        dataset = ImageDataset(manifest, Preprocessing(size=(224, 224)), model.classes)
        works: dict[str, Callable[[], object]] = {
            "seconds decoding": lambda: [dataset[row] for row in range(FILES)],
            "seconds manifest": lambda: validate_manifest(manifest, check_files=False),
            "seconds manifest, local": lambda: validate_manifest(manifest),
        }
        for name, work in works.items():
            found[name] = seconds(work, "cpu") / FILES
        options: dict[str, Any] = {"interventions": False, "sanity": False}
        options["target_layer"] = NETWORKS["resnet18"][0]
        shard = score_shard(model, manifest, shard=0, shards=1, **options)
        found["bytes of shards"] = len(shard.content) / FILES
        found["bytes held by the merge"] = held_by_merge(shard)
        folder = Path(scratch, "audit")
        merge_shards(model, manifest, [shard], **options).save(folder)
        found["bytes of scores"] = (folder / "scores.parquet").stat().st_size / FILES
    for name, value in found.items():
        print(f"{name}: {value:.3g}", flush=True)
    return found


def held_by_merge(shard: Shard) -> float:
    """Bytes that an image adds to the peak of the merge, without Arrow's own memory and the manifest."""
    few, many = 16, 64
    grown = (_merge_peak(shard, many) - _merge_peak(shard, few)) / ((many - few) * shard.mark.rows)
    return grown + len(shard.content) / shard.mark.rows


def _merge_peak(shard: Shard, copies: int) -> float:
    """Bytes at the peak of what grows with the images: their table, clusters and baselines."""
    rows = shard.mark.rows

    digests = []

    def placed() -> Iterator[tuple[slice, Pass]]:
        for number in range(copies):
            _, scored, files = shard.read()
            digests.append(files)
            yield slice(number * rows, (number + 1) * rows), scored

    tracemalloc.start()
    try:
        whole = Pass.join(placed(), copies * rows)
        names = [f"{number:09d}" for number in range(copies * rows)]
        scores = whole.table.assign(image_id=names, group=names, label=whole.table["target"])
        clusters_of(scores, whole.maps, whole.regions, tolerance=1, seed=0)
        baselines(scores, whole.maps, whole.regions, shard.mark.settings)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def rates(measured: dict[str, float], device: str) -> Rows:
    column = "measured, images a second and core" if device == "cpu" else "measured, images a second"
    return [
        {
            "network": name,
            column: f"{rate:.1f}",
            "core hours for 10^6 images" if device == "cpu" else "hours for 10^6 images": (
                f"{1e6 / rate / 3600:.1f}"
            ),
            "published, RTX 3090, images a second": (f"{PUBLISHED[name]:,.0f}" if name in PUBLISHED else "-"),
        }
        for name, rate in measured.items()
    ]


def costs(found: dict[str, float]) -> Rows:
    said = {
        "bytes read (JPEG of 480 x 640, PNG mask)": f"{found['bytes read']:,.0f}",
        "reading, decoding and resizing both, one core": f"{1e3 * found['seconds decoding']:.2f} ms",
        "a row of the manifest, in every worker, files remote": f"{1e6 * found['seconds manifest']:.0f} us",
        "the same, files local (headers are read)": f"{1e6 * found['seconds manifest, local']:.0f} us",
        "bytes written to `--parts` (scores, digests, maps)": f"{found['bytes of shards']:,.0f}",
        "bytes of `scores.parquet`": f"{found['bytes of scores']:,.0f}",
        "bytes of memory that the merge holds at its peak": f"{found['bytes held by the merge']:,.0f}",
    }
    return [{"of one image": name, "measured": value} for name, value in said.items()]


def example(
    images: int, workers: int, shards: int, rate: float, decoders: int, found: dict[str, float]
) -> dict[str, Any]:
    """Arithmetic: hours by what they go into, and which of it is the bottleneck.

    Args:
        images: to be audited.
        workers: that score at once.
        shards: each is a process that reads the manifest.
        rate: images a second of one worker's network.
        decoders: cores of a worker that decode beside the network; 0: the network's own core does.
        found: costs of an image, of `beside`.
    """
    decoding = found["seconds decoding"] / max(decoders, 1)
    network = 1 / rate
    hours = {
        "network": images / workers * (network if decoders else network + decoding) / 3600,
        "decoding": images / workers * decoding / 3600 if decoders else 0.0,
        "storage": images * found["bytes read"] / STORAGE / 3600,
        "manifest": images * found["seconds manifest"] * -(-shards // workers) / 3600,
    }
    first = max(hours, key=lambda name: hours[name])
    memory = images * found["bytes held by the merge"]
    scoring = max(hours["network"], hours["decoding"], hours["storage"])
    return {
        "hours of scoring": scoring,
        "hours of manifest": hours["manifest"],
        "read, bytes": images * found["bytes read"],
        "written, bytes": images * (found["bytes of shards"] + found["bytes of scores"]),
        "merge, bytes": memory,
        "bottleneck": f"memory of the merge, then {first}" if memory > MEMORY else first,
    }


def examples(rate: float, found: dict[str, float]) -> Rows:
    rows = []
    settings = [
        *((images, workers, f"{workers} cores (measured)", rate, 0) for images, workers in _CPU),
        *(
            (images, workers, f"{workers} GPUs (published)", PUBLISHED[EXAMPLE], CORES_OF_GPU)
            for images, workers in _GPU
        ),
    ]
    for images, workers, said, speed, decoders in sorted(settings, key=lambda each: each[0]):
        shards = shards_for(images, workers)
        made = example(images, workers, shards, speed, decoders, found)
        rows.append(
            {
                "images": f"10^{int(np.log10(images))}",
                "workers": said.replace("1 GPUs", "1 GPU"),
                "shards": shards,
                "hours of scoring": f"{made['hours of scoring']:,.1f}",
                "and of manifest": f"{made['hours of manifest']:,.1f}",
                "read": _size(made["read, bytes"]),
                "written": _size(made["written, bytes"]),
                "merge in memory": _size(made["merge, bytes"]),
                "first bottleneck": made["bottleneck"],
            }
        )
    return rows


_CPU = ((10**5, 8), (10**7, 128), (10**9, 4096))
_GPU = ((10**5, 1), (10**7, 8), (10**9, 64))


def shards_for(images: int, workers: int) -> int:
    """Eight a worker, of at least 1,000 images."""
    return max(1, min(8 * workers, images // 1000))


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def stragglers(workers: int = 64, runs: int = 200) -> Rows:
    """The simulation; nothing of it is measured."""
    rows = []
    for each in (1, 4, 16, 64):
        row: dict[str, Any] = {"shards a worker": each}
        for said, spread, preemptions in (
            ("shards differ", 0.3, 0.0),
            ("workers are taken away", 0.0, 0.5),
            ("both", 0.3, 0.5),
        ):
            found = repeat(Case(workers, each * workers, spread, preemptions, restart=0.02), runs)
            spans = np.array([run.makespan for run in found])
            row[said] = f"{spans.mean():.2f} (95 %: {np.quantile(spans, 0.95):.2f})"
        row["work done twice, both"] = f"{np.mean([run.lost for run in found]):.1%}"
        rows.append(row)
    return rows


def machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    load = os.getloadavg()[0]
    return (
        f"{name}, {os.cpu_count()} cores, one thread, processor time, torch {torch.__version__}; load of the "
        f"machine at the start: {load:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path, help="write what was measured here instead of into the page")
    parser.add_argument("--measured", type=Path, help="measure nothing, take what --json wrote")
    given = parser.parse_args()
    if given.measured:
        content = json.loads(given.measured.read_text())
    else:
        torch.set_num_threads(1)
        content = {
            "device": given.device,
            "machine": machine(given.device),
            "images a second": compute(given.networks, given.device),
            "of one image": beside(given.device),
        }
    if given.json:
        given.json.write_text(json.dumps(content, indent=2) + "\n")
        return
    device, where, measured, found = content.values()
    note = f"\n\nMeasured on {where.replace('; ', ';' + chr(10))}; 224 px, batch {BATCH}."
    write(PAGE, "rates", table(rates(measured, device)) + note)
    write(PAGE, "costs", table(costs(found)) + note)
    if EXAMPLE in measured:
        write(PAGE, "examples", table(examples(measured[EXAMPLE], found)))
    write(PAGE, "stragglers", table(stragglers()))


if __name__ == "__main__":
    main()
