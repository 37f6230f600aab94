"""`Rival` as an artifact: which version, and its audit's own folder or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType

from camgate.gate.measure import NoRival
from camgate.materializers.folder import FolderMaterializer
from camgate.materializers.sources import pin
from camgate.registry.champion import Rival

pin(Rival)


@pin
class RivalMaterializer(FolderMaterializer):
    """`champion.json`, and beside it the folder of the champion's audit."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Rival,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    SKIP_REGISTRATION: ClassVar[bool] = False

    def write(self, data: Rival, folder: Path) -> None:
        """Write the files."""
        data.save(folder)

    def read(self, folder: Path, data_type: type[Any]) -> Rival:
        """Read the files."""
        return Rival.load(folder)

    def extract_metadata(self, data: Rival) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        facts = {
            "version": data.version,
            "mlflow_run_id": data.run_id,
            "absent": data.audit.reason if isinstance(data.audit, NoRival) else None,
        }
        return {name: value for name, value in facts.items() if value is not None}
