"""`Classifier` as an artifact: safetensors and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType

from camgate.errors import some_of
from camgate.materializers.folder import FolderMaterializer
from camgate.materializers.sources import pin
from camgate.models.classifier import Classifier

ORIGIN = "origin.json"

pin(Classifier)


@pin
class ClassifierMaterializer(FolderMaterializer):
    """The files of `Classifier.save`, and where the model was logged, if it was."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Classifier,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL
    SKIP_REGISTRATION: ClassVar[bool] = False

    def write(self, data: Classifier, folder: Path) -> None:
        """Write the classifier; without a `builder` it cannot be kept, and the error says what to do."""
        data.save(folder)
        vouched = data.source_digest is not None and data.digest() == data.source_digest
        origin = {
            "model_uri": data.model_uri if vouched else None,
            "source_digest": data.source_digest if vouched else None,
        }
        (folder / ORIGIN).write_text(json.dumps(origin), encoding="utf-8")

    def read(self, folder: Path, data_type: type[Any]) -> Classifier:
        """Read the classifier.

        A builder that is an import path runs the user's code. That is allowed only for files whose SHA-256
        ZenML's database knows: those that a step of the user's own pipeline saved.
        """
        classifier = Classifier.load(folder, allow_code=self._vouched_for(folder))
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        classifier.model_uri = origin["model_uri"]
        classifier.source_digest = origin["source_digest"]
        return classifier

    def extract_metadata(self, data: Classifier) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        facts = {
            "builder": data.builder,
            "classes": some_of(data.classes),
            "image_size": list(data.preprocessing.size),
            "parameters": sum(tensor.numel() for tensor in data.module.parameters()),
            "model_uri": data.model_uri,
            "digest": data.digest(),
        }
        return {name: value for name, value in facts.items() if value is not None}
