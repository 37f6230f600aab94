"""`DrillResult` as an artifact: JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType

from camgate.gate.drilled import DrillResult
from camgate.materializers.folder import FolderMaterializer
from camgate.materializers.sources import pin

FILE = "drill.json"

pin(DrillResult)


@pin
class DrillMaterializer(FolderMaterializer):
    """`drill.json`, the same text as in an audit folder."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (DrillResult,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    SKIP_REGISTRATION: ClassVar[bool] = False

    def write(self, data: DrillResult, folder: Path) -> None:
        """Write the file."""
        (folder / FILE).write_text(data.to_json(), encoding="utf-8")

    def read(self, folder: Path, data_type: type[Any]) -> DrillResult:
        """Read the file."""
        return DrillResult.load(folder / FILE)

    def extract_metadata(self, data: DrillResult) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        return {"sentence": data.sentence(), **data.summarise()}
