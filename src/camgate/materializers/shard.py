"""`Shard` as an artifact: its Parquet file and its mark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType

from camgate.audit.shards import Shard, ShardMark
from camgate.materializers.folder import FolderMaterializer
from camgate.materializers.sources import pin

pin(Shard)


@pin
class ShardMaterializer(FolderMaterializer):
    """The two files of `Shard.save`, those that `camgate audit --shards` keeps too."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Shard,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    SKIP_REGISTRATION: ClassVar[bool] = False

    def write(self, data: Shard, folder: Path) -> None:
        """Write the files."""
        data.save(folder)

    def read(self, folder: Path, data_type: type[Any]) -> Shard:
        """Read the files; the mark says which shard it is."""
        (file,) = folder.glob("*.json")
        mark = ShardMark.model_validate_json(file.read_bytes())
        return Shard.load(folder, mark.shard, mark.shards)

    def extract_metadata(self, data: Shard) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        names = ("shard", "shards", "rows", "model_digest")
        return {name: getattr(data.mark, name) for name in names}
