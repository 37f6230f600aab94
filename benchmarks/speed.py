"""What an audit costs, relative to plain prediction and to other tools. Writes the tables of docs/speed.md.

python benchmarks/speed.py [--only NAME ...] [--networks NAME ...] [--rounds N] [--images N] [--json FILE]

All in one process, interleaved, random weights: each round times every contestant once, and a ratio is the
median over the rounds of the two times of one round. Networks on both sides get the same memory format.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from PIL import Image
from torch import Tensor

import camgate
from camgate.audit.profile import profiled
from camgate.audit.scores import regions_on_grid, score_cells
from camgate.data.dataset import Batch, ImageDataset, make_loader
from camgate.data.manifest import validate_manifest
from camgate.data.preprocessing import Preprocessing
from camgate.heatmaps.explainers import Explainer
from camgate.models.classifier import Classifier, evaluation_mode

PAGE = Path(__file__).resolve().parents[1] / "docs" / "speed.md"
SIZE, BATCH = 224, 32
FILES = 192
"""Files that the loader's comparison reads; the whole audit's has `--images`."""
WHOLE = ("mobilenet_v3_large", "resnet18")
"""Networks of the whole audit; the others would take hours on two cores."""
NETWORKS = {  # the last stage that ends in global pooling (ViT: the last block), and one stage before it
    "resnet18": ("layer4", "layer3"),
    "resnet50": ("layer4", "layer3"),
    "mobilenet_v3_large": ("features", "features.12"),
    "efficientnet_b0": ("features", "features.6"),
    "vit_b_16": ("encoder.layers.encoder_layer_11.ln_1", "encoder.layers.encoder_layer_10"),
}

Call = Callable[[], object]
Table = list[dict[str, Any]]


def seconds(call: Call) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rounds(calls: dict[str, Call], count: int) -> dict[str, list[float]]:
    """Seconds of each call, in each round."""
    for call in calls.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            found[name].append(seconds(call))
    return found


def ratio(times: dict[str, list[float]], name: str, of: str = "plain") -> float:
    return statistics.median(a / b for a, b in zip(times[name], times[of], strict=True))


def classifier(name: str, device: str) -> Classifier:
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, num_classes=10).to(device).eval()
    made = Classifier(module, [f"class {n}" for n in range(10)], Preprocessing(size=(SIZE, SIZE)))
    with torch.inference_mode():
        made.logits(torch.zeros((1, 3, SIZE, SIZE), dtype=torch.uint8))  # finds head and memory format
    return made


def batch_of(model: Classifier) -> tuple[Tensor, np.ndarray]:
    chance = np.random.default_rng(0)
    images = torch.from_numpy(chance.integers(0, 256, (BATCH, 3, SIZE, SIZE), dtype=np.uint8))
    regions = np.zeros((BATCH, SIZE, SIZE), dtype=bool)
    regions[:, 60:160, 60:160] = True
    return images.to(model.device), regions


def plain_of(model: Classifier, images: Tensor) -> Call:
    def plain() -> Tensor:
        with torch.inference_mode():
            return model.logits(images).cpu()

    return plain


def scored(explainer: Explainer, images: Tensor, regions: np.ndarray) -> Call:
    def audit() -> object:
        maps = np.asarray(explainer(images).maps)
        cells = regions_on_grid(regions, None, (maps.shape[1], maps.shape[2]))
        return score_cells(maps, cells, regions.any(axis=(1, 2)))

    return audit


def networks(names: Sequence[str], count: int, device: str) -> Table:
    """Maps and scores of a batch in memory against the plain forward pass."""
    rows = []
    for name in names:
        model = classifier(name, device)
        images, regions = batch_of(model)
        last, early = NETWORKS[name]
        plain_pass = plain_of(classifier(name, device), images)  # its own copy: no hook, nothing frozen
        with Explainer(model, layer=last, method="gradcam") as explainer:
            times = rounds({"plain": plain_pass, "last": scored(explainer, images, regions)}, count)
        with Explainer(model, layer=early, method="hirescam") as explainer:
            targets = explainer(images).targets
            calls = {
                "plain": plain_pass,
                "early": scored(explainer, images, regions),
                # What an earlier layer costs by itself: differentiating what lies behind it.
                "backward": lambda seen=explainer, of=targets: seen.gradients(of),
            }
            before = rounds(calls, count)
        plain = statistics.median(times["plain"]) / BATCH
        rows.append(
            {
                "network": name,
                "plain, ms an image": f"{1000 * plain:.2f}",
                "audit at the last stage": f"{ratio(times, 'last'):.2f}",
                "audit one stage earlier": f"{ratio(before, 'early'):.2f}",
                "of it backward work": f"{ratio(before, 'backward'):.2f}",
                "channels last": "yes" if model.takes_channels_last and device == "cpu" else "no",
            }
        )
        print(rows[-1], flush=True)
    return rows


def peers(names: Sequence[str], count: int, device: str) -> Table:
    """Images a second with maps and mass inside the region, by each tool as its documentation says."""
    rows = []
    for name in names:
        if name.startswith("vit"):
            continue  # each of the others needs its own reshaping there
        model = classifier(name, device)
        images, regions = batch_of(model)
        layer = NETWORKS[name][0]
        others = {tool: make(model, layer, images, regions) for tool, make in _PEERS.items()}
        with Explainer(model, layer=layer, method="gradcam") as explainer:
            times = rounds({"camgate": scored(explainer, images, regions), **others}, count)
        row: dict[str, Any] = {"network": name}
        for tool in times:
            row[tool] = f"{BATCH / statistics.median(times[tool]):.1f}"
            if tool != "camgate":
                row[tool] += f" ({ratio(times, tool, 'camgate'):.1f}x)"
        rows.append(row)
        print(row, flush=True)
    return rows


def _copy(model: Classifier) -> tuple[torch.nn.Module, Callable[[Tensor], Tensor]]:
    def normalise(images: Tensor) -> Tensor:
        return model.preprocessing.normalise(images.contiguous(memory_format=memory))

    memory = torch.channels_last if model.takes_channels_last else torch.contiguous_format
    return copy.deepcopy(model.module).eval(), normalise


def _pytorch_grad_cam(model: Classifier, layer: str, images: Tensor, regions: np.ndarray) -> Call:
    from pytorch_grad_cam import GradCAM

    module, normalise = _copy(model)
    cam = GradCAM(model=module, target_layers=[module.get_submodule(layer)])
    return lambda: _inside(cam(input_tensor=normalise(images), targets=None), regions)


def _torchcam(model: Classifier, layer: str, images: Tensor, regions: np.ndarray) -> Call:
    from torchcam.methods import GradCAM

    module, normalise = _copy(model)
    cam = GradCAM(module, target_layer=layer, input_shape=(3, SIZE, SIZE))

    def run() -> object:
        scores = module(normalise(images))
        maps = cam(scores.argmax(dim=1).tolist(), scores)[0]
        grown = torch.nn.functional.interpolate(maps[:, None].float(), (SIZE, SIZE), mode="bilinear")
        return _inside(grown[:, 0].cpu().numpy(), regions)

    return run


def _captum(model: Classifier, layer: str, images: Tensor, regions: np.ndarray) -> Call:
    from captum.attr import LayerAttribution, LayerGradCam

    module, normalise = _copy(model)
    cam = LayerGradCam(module, module.get_submodule(layer))

    def run() -> object:
        inputs = normalise(images)
        with torch.no_grad():
            predicted = module(inputs).argmax(dim=1)
        maps = cam.attribute(inputs, target=predicted, relu_attributions=True)
        grown = LayerAttribution.interpolate(maps, (SIZE, SIZE), "bilinear")
        return _inside(grown[:, 0].detach().cpu().numpy(), regions)

    return run


def _quantus(model: Classifier, layer: str, images: Tensor, regions: np.ndarray) -> Call:
    """Captum's maps, then the two metrics; the maps are handed in, so the network runs once for them."""
    import quantus
    from captum.attr import LayerAttribution, LayerGradCam

    module, normalise = _copy(model)
    cam = LayerGradCam(module, module.get_submodule(layer))
    settings = {"disable_warnings": True, "display_progressbar": False}
    metrics = (quantus.RelevanceMassAccuracy(**settings), quantus.PointingGame(**settings))

    def run() -> object:
        inputs = normalise(images)
        with torch.no_grad():
            predicted = module(inputs).argmax(dim=1)
        maps = cam.attribute(inputs, target=predicted, relu_attributions=True)
        maps = LayerAttribution.interpolate(maps, (SIZE, SIZE), "bilinear").detach().cpu().numpy()
        given = {
            "model": module,
            "x_batch": inputs.cpu().numpy(),
            "y_batch": predicted.cpu().numpy(),
            "a_batch": maps + 1e-12,  # a map that is all zero is refused
            "s_batch": regions[:, None],
            "device": str(inputs.device),
        }
        return [metric(**given) for metric in metrics]

    return run


_PEERS = {
    "pytorch-grad-cam": _pytorch_grad_cam,
    "TorchCAM": _torchcam,
    "Captum": _captum,
    "Quantus": _quantus,
}


def _inside(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The share of mass inside, which those tools leave to the caller."""
    inside = (maps * regions).sum(axis=(1, 2)) / np.maximum(maps.sum(axis=(1, 2)), 1e-12)
    peak = maps.reshape(len(maps), -1).argmax(axis=1)
    return np.stack([inside, regions.reshape(len(maps), -1)[np.arange(len(maps)), peak]])


def write_folder(
    folder: Path, count: int, size: tuple[int, int] = (480, 640), different: int = 64
) -> pd.DataFrame:
    """JPEG files of about 80 kB with PNG masks, ten classes; `different` pictures, `count` files."""
    chance = np.random.default_rng(0)
    height, width = size
    pictures = []
    for _ in range(different):
        colours = Image.fromarray(chance.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(colours.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
        pixels = (pixels + chance.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
        down, across = np.ogrid[:height, :width]
        top, left = chance.integers(height // 4, height // 2), chance.integers(width // 4, width // 2)
        mask = ((down - top) / (height / 5)) ** 2 + ((across - left) / (width / 8)) ** 2 < 1
        pictures.append((Image.fromarray(pixels), Image.fromarray(mask.astype(np.uint8) * 255)))
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, mask = pictures[number % different]
        image, region = folder / f"{number:06d}.jpg", folder / f"{number:06d}.png"
        if number < different:
            picture.save(image, quality=90)
            mask.save(region)
        else:
            os.link(folder / f"{number % different:06d}.jpg", image)
            os.link(folder / f"{number % different:06d}.png", region)
        label = f"class {number % 10}"
        rows.append({"image": image, "region": region, "label": label, "split": "test", "group": number // 2})
    return validate_manifest(pd.DataFrame(rows).astype({"image": str, "region": str}))


def predict(model: Classifier, loader: Any) -> int:
    right = 0
    with evaluation_mode(model.module), torch.inference_mode():
        for batch in loader:
            right += int((model.logits(batch.images).argmax(dim=1).cpu() == batch.labels).sum())
    return right


def audit_batches(model: Classifier, layer: str, loader: Any) -> None:
    with Explainer(model, layer=layer, method="gradcam") as explainer:
        for batch in loader:
            assert isinstance(batch, Batch)
            scored(explainer, batch.images, np.asarray(batch.regions))()


def files(names: Sequence[str], count: int, images: int, device: str) -> Table:
    """Reading and predicting files against reading, predicting and explaining them, by the same loader."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        manifest = write_folder(Path(scratch, "data"), images)
        for name in names:
            model = classifier(name, device)
            layer = NETWORKS[name][0]
            both = ImageDataset(manifest, model.preprocessing, model.classes)
            alone = ImageDataset(manifest.drop(columns="region"), model.preprocessing, model.classes)

            def loader(dataset: ImageDataset) -> Iterator[Batch]:
                return iter(make_loader(dataset, batch_size=BATCH))

            calls = {
                "plain": lambda m=model, d=both: predict(m, loader(d)),
                "images alone": lambda m=model, d=alone: predict(m, loader(d)),
                "audit": lambda m=model, d=both, at=layer: audit_batches(m, at, loader(d)),
            }
            times = rounds(calls, count)
            rows.append(
                {
                    "network": name,
                    "prediction, ms an image": f"{1000 * statistics.median(times['plain']) / images:.1f}",
                    "audit with the loader": f"{ratio(times, 'audit'):.2f}",
                    "the same, against images without masks": f"{ratio(times, 'audit', 'images alone'):.2f}",
                }
            )
            print(rows[-1], flush=True)
    return rows


def whole(names: Sequence[str], count: int, images: int, device: str) -> Table:
    """`camgate.audit` as a whole against predicting the same files."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        manifest = write_folder(Path(scratch, "data"), images)
        for name in names:
            model = classifier(name, device)
            dataset = ImageDataset(manifest, model.preprocessing, model.classes)

            def audited(m: Classifier = model, at: str = NETWORKS[name][0], sanity: bool = True) -> object:
                return camgate.audit(
                    m, manifest, target_layer=at, interventions=False, sanity=sanity, workers=0
                )

            calls = {
                "plain": lambda m=model, d=dataset: predict(m, iter(make_loader(d, batch_size=BATCH))),
                "audit": lambda: audited(sanity=False),
                "sane": audited,
            }
            times = rounds(calls, count)
            rows.append(
                {
                    "network": name,
                    "prediction of the files, s": f"{statistics.median(times['plain']):.1f}",
                    "`camgate.audit`, no sanity check": f"{ratio(times, 'audit'):.2f}",
                    "`camgate.audit`": f"{ratio(times, 'sane'):.2f}",
                }
            )
            print(rows[-1], flush=True)
            with profiled() as profile:
                audited()
            print("\n".join(profile.lines()), flush=True)
    return rows


def table(rows: Table) -> str:
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return "\n".join(lines + [f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows])


def write(page: Path, name: str, text: str) -> None:
    """Put a table between its markers."""
    before, rest = page.read_text().split(f"<!-- {name} -->\n", 1)
    after = rest.split(f"<!-- end {name} -->", 1)[1]
    page.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end {name} -->{after}")


def machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    named = re.search(r"^model name\s*: (.*)$", facts, re.MULTILINE)
    name = named[1] if named else platform.processor() or platform.machine()
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"{name} ({kernels}), {torch.get_num_threads()} threads, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=["networks", "peers", "files", "whole"])
    parser.add_argument("--networks", nargs="*", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write here instead of into the page")
    given = parser.parse_args()
    names = given.networks or list(NETWORKS)
    made: dict[str, Table] = {}
    if "networks" in given.only:
        made["networks"] = networks(names, given.rounds, given.device)
    if "peers" in given.only:
        made["peers"] = peers(names, given.rounds, given.device)
    if "files" in given.only:
        made["files"] = files(names, given.rounds, FILES, given.device)
    if "whole" in given.only:
        made["whole"] = whole(given.networks or WHOLE, given.rounds, given.images, given.device)
    where = machine(given.device)
    if given.json:
        given.json.write_text(json.dumps({"machine": where, **made}, indent=2) + "\n")
        return
    used = {"files": f"{FILES} files, ", "whole": f"{given.images:,} files, "}
    for name, rows in made.items():
        of = f"{used.get(name, '')}batch {BATCH}, {SIZE} px, median of {given.rounds} rounds"
        write(PAGE, name, f"{table(rows)}\n\nMeasured on {where}; {of}.")


if __name__ == "__main__":
    main()
