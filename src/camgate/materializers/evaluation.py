"""`Evaluation` as an artifact: numbers in JSON, tables in Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from zenml.enums import ArtifactType, VisualizationType

from camgate.materializers.folder import FolderMaterializer
from camgate.materializers.sources import pin
from camgate.models.evaluation import Evaluation

NUMBERS = ("accuracy", "macro_f1", "calibration_error", "n", "unreadable")

pin(Evaluation)


@pin
class EvaluationMaterializer(FolderMaterializer):
    """The numbers and both tables; the confusion matrix as a picture for the dashboard."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Evaluation,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    SKIP_REGISTRATION: ClassVar[bool] = False

    def write(self, data: Evaluation, folder: Path) -> None:
        """Write the files."""
        numbers = {name: getattr(data, name) for name in NUMBERS}
        (folder / "evaluation.json").write_text(json.dumps(numbers, indent=2), encoding="utf-8")
        data.per_class.to_parquet(folder / "per_class.parquet", index=False)
        data.confusion.to_parquet(folder / "confusion.parquet", index=False)

    def read(self, folder: Path, data_type: type[Any]) -> Evaluation:
        """Read the files."""
        return Evaluation(
            **json.loads((folder / "evaluation.json").read_text(encoding="utf-8")),
            per_class=pd.read_parquet(folder / "per_class.parquet"),
            confusion=pd.read_parquet(folder / "confusion.parquet"),
        )

    def save_visualizations(self, data: Evaluation) -> dict[str, VisualizationType]:
        """The confusion matrix."""
        picture = f"{self.uri}/confusion.png"
        with self.artifact_store.open(picture, "wb") as file:
            file.write(data.confusion_picture())
        return {picture: VisualizationType.IMAGE}

    def extract_metadata(self, data: Evaluation) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        return {name: getattr(data, name) for name in NUMBERS}
