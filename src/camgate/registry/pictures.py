"""Pictures of an audit with what a viewer needs beneath them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from camgate.audit.result import AuditResult, GalleryItem
from camgate.heatmaps.overlays import triptych

_LINE = 18


def captioned(item: GalleryItem, row: Mapping[str, Any]) -> np.ndarray:
    """Image, heatmap, and heatmap with the outline of the valid region, above two lines of text.

    Args:
        item: of the gallery.
        row: its row of `AuditResult.scores`.

    Returns:
        uint8 `(H, W, 3)`, RGB.
    """
    picture = triptych(item.image, item.heatmap, item.region)
    sheet = Image.new("RGB", (picture.shape[1], picture.shape[0] + 2 * _LINE + 8), "white")
    sheet.paste(Image.fromarray(picture))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    lines = (
        f"{row['image_id']}",
        f"label {row['label']}, predicted {row['predicted']} ({_number(row['confidence'])}), "
        f"invalid activation {_number(row['invalid_activation'])} "
        f"(uniform map {_number(row['invalid_area'])})",
    )
    for number, line in enumerate(lines):
        top = picture.shape[0] + 4 + number * _LINE
        draw.text((4, top), _fitting(line, draw, font, sheet.width - 8), fill="black", font=font)
    return np.asarray(sheet)


def gallery_pictures(result: AuditResult, limit: int) -> list[tuple[str, int, np.ndarray]]:
    """At most `limit` pictures as (kind, rank, pixels): worst and sample by turns, best ranks first."""
    rows = result.scores.set_index("image_id")
    shown = [item for item in result.gallery if item.kind != "cluster"]
    first = sorted(shown, key=lambda item: (item.rank, item.kind != "worst"))[: max(limit, 0)]
    return [(item.kind, item.rank, captioned(item, _row(rows, item.image_id))) for item in first]


def _row(rows: Any, image_id: str) -> dict[str, Any]:
    return {"image_id": image_id, **rows.loc[image_id].to_dict()}


def _number(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return "-"
    return f"{number:.2f}" if math.isfinite(number) else "-"


def _fitting(text: str, draw: ImageDraw.ImageDraw, font: Any, width: int) -> str:
    """`text` on one line, cut with ... where it is wider than `width` pixels."""
    line = " ".join(text.split())
    if draw.textlength(line, font=font) <= width:
        return line
    while line and draw.textlength(line + "...", font=font) > width:
        line = line[:-1]
    return line + "..."
