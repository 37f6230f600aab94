"""`AuditResult` as an artifact: its own folder, with a contact sheet for the dashboard."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from zenml.enums import ArtifactType, VisualizationType

from camgate.audit.result import AuditResult
from camgate.audit.summary import summarise
from camgate.heatmaps.overlays import triptych
from camgate.materializers.folder import FolderMaterializer
from camgate.materializers.sources import pin

SHEET_COLUMNS = 3
SHEET_PICTURES = 24

pin(AuditResult)


@pin
class AuditResultMaterializer(FolderMaterializer):
    """The files of `AuditResult.save`, those that `camgate audit --out` writes too."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (AuditResult,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    SKIP_REGISTRATION: ClassVar[bool] = False

    def write(self, data: AuditResult, folder: Path) -> None:
        """Write the audit folder."""
        data.save(folder)
        (folder / "summary.json").write_text(json.dumps(summarise(data), indent=2), encoding="utf-8")

    def read(self, folder: Path, data_type: type[Any]) -> AuditResult:
        """Read the audit folder."""
        return AuditResult.load(folder)

    def save_visualizations(self, data: AuditResult) -> dict[str, VisualizationType]:
        """The worst images and a random sample on one sheet."""
        if not data.gallery:
            return {}
        sheet = f"{self.uri}/contact_sheet.png"
        with self.artifact_store.open(sheet, "wb") as file:
            file.write(contact_sheet(data))
        return {sheet: VisualizationType.IMAGE}

    def extract_metadata(self, data: AuditResult) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        facts = {
            "method": data.settings.method,
            "target_layer": data.settings.target_layer,
            "model_digest": data.model_digest,
            "data_digest": data.data_digest,
            "model_uri": data.model_uri,
            "summary": summarise(data),
        }
        return {name: value for name, value in facts.items() if value is not None}


def contact_sheet(result: AuditResult, *, pictures: int = SHEET_PICTURES) -> bytes:
    """Image, heatmap and valid region of the gallery's first pictures (worst ones first), as a PNG."""
    tiles = [triptych(item.image, item.heatmap, item.region) for item in result.gallery[:pictures]]
    height = max(tile.shape[0] for tile in tiles) + 8
    width = max(tile.shape[1] for tile in tiles) + 8
    rows = -(-len(tiles) // SHEET_COLUMNS)
    sheet = np.full((rows * height, min(SHEET_COLUMNS, len(tiles)) * width, 3), 255, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // SHEET_COLUMNS) * height, (number % SHEET_COLUMNS) * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    picture = Image.fromarray(sheet)
    picture.thumbnail((2400, 2400))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
