"""An audit in shards from the command line: by one process, or each shard by one of several machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camgate.errors import InputError
from camgate.storage import exists, join, local_folder
from camgate.terminal import console

if TYPE_CHECKING:
    import pandas as pd

    from camgate.audit.preparing import Progress
    from camgate.audit.result import AuditResult
    from camgate.models.classifier import Classifier


@dataclass(frozen=True)
class Split:
    """What `--shards`, `--shard` and `--parts` say.

    Attributes:
        shards: their number.
        shard: the one that this process makes; None makes all that are missing.
        parts: folder, or its URL, that keeps finished ones.
    """

    shards: int
    shard: int | None
    parts: str

    @classmethod
    def read(cls, shards: int | None, shard: int | None, parts: str | None) -> Split | None:
        """None without shards.

        Raises:
            InputError: one option without the other, or no such shard.
        """
        if shards is None and shard is None and parts is None:
            return None
        if shards is None or parts is None:
            raise InputError("--shards and --parts go together: how many, and where finished ones are kept.")
        if shards < 1 or not 0 <= (shard or 0) < shards:
            raise InputError(f"--shard is a number from 0 to --shards - 1; got {shard or 0} of {shards}.")
        return cls(shards, shard, parts)

    def audit(
        self, model: Classifier, manifest: pd.DataFrame, progress: Progress, options: dict[str, Any]
    ) -> AuditResult | None:
        """Make what is to be made here, and the audit where all shards are finished then; else None."""
        from camgate.audit.shards import audit_in_shards, keep_shard, missing_shards

        folder = join(self.parts, model.digest()[:16])  # the champion's shards are others
        given = {"shards": self.shards, "folder": folder, "progress": progress, **options}
        if self.shard is not None:
            keep_shard(model, manifest, shard=self.shard, **given)
            missing = missing_shards(folder, self.shards)
            if missing:
                console(stderr=True).print(
                    f"shard {self.shard} of {self.shards} is finished; {len(missing)} are not yet. "
                    "Whoever finishes the last one merges."
                )
                return None
        return audit_in_shards(model, manifest, **given)


def holds(out: str, result: AuditResult) -> bool:
    """Whether the folder holds the same audit already: another worker has merged it, or this one before."""
    from camgate.audit.result import AuditResult

    if not exists(join(out, "audit.json")):
        return False
    with local_folder(out) as folder:
        found = AuditResult.load(folder)
    return all(
        getattr(found, name) == getattr(result, name) for name in ("model_digest", "data_digest", "settings")
    )
