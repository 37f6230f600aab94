"""`Verdict` as an artifact: JSON, with a table of the checks for the dashboard."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from camgate.gate.verdict import Verdict
from camgate.materializers.folder import FolderMaterializer
from camgate.materializers.sources import pin

FILE = "verdict.json"
_COLOURS = {"PASS": "#1a7f37", "FAIL": "#cf222e", "INCONCLUSIVE": "#9a6700", "ERROR": "#6e7781"}

pin(Verdict)


@pin
class VerdictMaterializer(FolderMaterializer):
    """`verdict.json`, the same text as in an audit folder."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Verdict,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    SKIP_REGISTRATION: ClassVar[bool] = False

    def write(self, data: Verdict, folder: Path) -> None:
        """Write the file."""
        (folder / FILE).write_text(data.to_json(), encoding="utf-8")

    def read(self, folder: Path, data_type: type[Any]) -> Verdict:
        """Read the file."""
        return Verdict.model_validate_json((folder / FILE).read_text(encoding="utf-8"))

    def save_visualizations(self, data: Verdict) -> dict[str, VisualizationType]:
        """The sentence and the checks; the full report is an artifact of its own."""
        page = f"{self.uri}/verdict.html"
        with self.artifact_store.open(page, "w") as file:
            file.write(verdict_table(data))
        return {page: VisualizationType.HTML}

    def extract_metadata(self, data: Verdict) -> dict[str, Any]:
        """What the dashboard shows beside the artifact."""
        return {
            "status": data.status.value,
            "reason": data.reason,
            "sentence": data.sentence,
            "policy_digest": data.policy_digest,
            "model_digest": data.model_digest,
            "data_digest": data.data_digest,
        }


def verdict_table(verdict: Verdict) -> str:
    """The verdict as a small HTML page."""
    rows = "".join(
        f"<tr><td>{escape(check.name)}</td><td style='color:{_COLOURS[check.status.value]}'>"
        f"{check.status.value}</td><td>{escape(check.message)}</td></tr>"
        for check in verdict.checks
    )
    return (
        "<!doctype html><meta charset='utf-8'><body style='font-family:sans-serif'>"
        f"<h2 style='color:{_COLOURS[verdict.status.value]}'>{verdict.status.value}</h2>"
        f"<p>{escape(verdict.sentence)}</p><table cellpadding='6'>{rows}</table></body>"
    )
