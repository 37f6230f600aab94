"""Make the README's picture of a blocked model from an audit folder.

python docs/make_picture.py --workdir demo --out docs/images/blocked.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from camgate.audit.result import AuditResult, GalleryItem
from camgate.heatmaps.overlays import triptych

ROWS = 3
CAPTION = 26


def typical(result: AuditResult) -> list[GalleryItem]:
    """One item of the random sample per class with objects: that nearest to the class's median score."""
    found = result.scores[result.scores["status"] == "ok"].astype({"image_id": str})
    items = {item.image_id: item for item in result.gallery if item.kind == "sample"}
    median = found.groupby("label")["invalid_activation"].transform("median")
    found = found.assign(away=(found["invalid_activation"] - median).abs())
    nearest = found[found["image_id"].isin(list(items))].sort_values("away").drop_duplicates("label")
    return [items[image_id] for image_id in nearest.sort_values("label")["image_id"]][:ROWS]


def column(result: AuditResult, title: str) -> np.ndarray:
    """Captioned triptychs under a title."""
    scores = result.scores.set_index(result.scores["image_id"].astype(str))
    font = ImageFont.load_default(size=15)
    parts = []
    for number, item in enumerate(typical(result)):
        picture = triptych(item.image, item.heatmap, item.region)
        row = scores.loc[item.image_id]
        head = f"{title}    " if number == 0 else ""
        text = (
            f"{head}{row['label']} -> {row['predicted']}, invalid activation {row['invalid_activation']:.2f}"
        )
        canvas = Image.fromarray(np.pad(picture, ((CAPTION, 4), (0, 0), (0, 0)), constant_values=255))
        ImageDraw.Draw(canvas).text((2, 4), text, fill=(20, 20, 20), font=font)
        parts.append(np.asarray(canvas))
    return np.concatenate(parts)


def main() -> None:
    """Read the demo's newest audits of both candidates and write one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/blocked.png"))
    options = parser.parse_args()
    columns = []
    for key, title in (("graffiti", "BLOCKED"), ("random-graffiti", "PROMOTED")):
        folders = [
            path for path in (options.workdir / "audits").glob(f"{key}-*") if (path / "audit.json").is_file()
        ]
        if not folders:
            raise SystemExit(f"no audit of {key} in {options.workdir}/audits; run `make demo` first")
        newest = max(folders, key=lambda path: (path / "audit.json").stat().st_mtime)
        columns.append(column(AuditResult.load(newest), title))
    gap = np.full((columns[0].shape[0], 16, 3), 255, dtype=np.uint8)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([columns[0], gap, columns[1]], axis=1)).save(options.out, optimize=True)
    print(options.out)


if __name__ == "__main__":
    main()
