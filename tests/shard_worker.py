"""An audit in shards in a process of its own, for tests that kill it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from camgate.audit.shards import audit_in_shards
from camgate.models.classifier import Classifier


def run(model: str, manifest: str, folder: str, log: str, shards: int, options: dict[str, Any]) -> None:
    """Audit into `folder`, and note each start of a shard as a line of the log.

    The audit itself, `folder/audit`, is left as it is where an earlier process had just finished it.
    """
    torch.set_num_threads(1)
    with open(log, "a", encoding="utf-8") as lines:

        def note(stage: str, done: int, total: int) -> None:
            if stage.startswith("shard-") and done == 0:
                lines.write(f"{stage}\n")
                lines.flush()

        result = audit_in_shards(
            Classifier.load(model),
            pd.read_parquet(manifest),
            shards=shards,
            folder=folder,
            progress=note,
            **options,
        )
        if not Path(folder, "audit").exists():  # complete or absent
            result.save(Path(folder, "audit"))
