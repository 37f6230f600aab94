"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="Policy (YAML). Without it the default policy is used.")
]
ModelSource = Annotated[
    str,
    typer.Option(
        help="Folder of a saved Classifier, MLflow URI (models:/name@alias), or weights (with --spec)."
    ),
]
DataSource = Annotated[
    str,
    typer.Option(
        help="Manifest (.csv, .parquet; also by URL, s3://...), COCO .json, or folder: YOLO, VOC, one "
        "sub-folder a class."
    ),
]
DataOptions = Annotated[
    Path | None, typer.Option(help="How the data are read, and where valid pixels are (YAML).")
]
Spec = Annotated[
    Path | None,
    typer.Option(help="Facts that the model does not hold: classes, preprocessing, builder... (JSON)."),
]
AllowCode = Annotated[
    bool, typer.Option(help="Run the builder code that the model names (only for models you trust).")
]
AllowPickle = Annotated[
    bool, typer.Option(help="Load a pickled model that others logged (it runs the code in it).")
]
Champion = Annotated[
    str | None,
    typer.Option(
        help="Today's champion, for the policy's check `champion`: its audit folder, or the model, "
        "which is then audited on the same images; `none` where there is none yet."
    ),
]
AuditAddress = Annotated[str, typer.Option("--audit", help="Folder written by `camgate audit`, or its URL.")]
AuditFolder = Annotated[Path, typer.Option("--audit", help="Folder written by `camgate audit`.")]
