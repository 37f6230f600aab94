"""The logged model's code: MLflow runs this file when it loads the model with `mlflow.pyfunc`.

It is logged beside a copy of the parts of camgate that predict, so the model needs no installed camgate. That
copy is used even where camgate is installed, and is invisible to the rest of the process: a model must
predict by the code that its digest covers, and must never replace the installed auditor by its own.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc.model import PythonModel

COLUMN = "image"
PREDICTED = "predicted"
_LONGEST_PATH = 4096


@contextmanager
def _own_copy(code: Path) -> Iterator[None]:
    """Inside, `camgate` is imported from the folder `code`; outside all is as before."""
    outside = _taken_out()
    path = list(sys.path)
    sys.path.insert(0, str(code))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        _taken_out()
        sys.modules.update(outside)
        # MLflow puts the folder on the path for good; there it would shadow an installed camgate.
        sys.path[:] = [entry for entry in path if Path(entry or ".").resolve() != code.resolve()]


def _taken_out() -> dict[str, Any]:
    names = [name for name in sys.modules if name == "camgate" or name.startswith("camgate.")]
    return {name: sys.modules.pop(name) for name in names}


def column(name: str) -> str:
    """Output column of a class's probability."""
    return f"{name} (class)" if name == PREDICTED else name


class _Encoded(io.BytesIO):
    """Bytes of an image file, called by their row in messages."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name


def _pixels(value: Any, read: Any, row: Any) -> Any:
    """RGB pixels from a path, the bytes of an encoded image, or those bytes as base64 text."""
    where = f"row {row}, column `{COLUMN}`"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return read(_Encoded(bytes(value), where))
    if not isinstance(value, (str, Path)):
        raise ValueError(
            f"{where}: give a path, the bytes of an image file, or these as base64 text; "
            f"got {type(value).__name__}"
        )
    if isinstance(value, Path) or (len(value) < _LONGEST_PATH and _is_file(value)):
        return read(value)
    try:
        content = base64.b64decode(value.split(",", 1)[-1] if value[:5] == "data:" else value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{where}: {value[:80]!r} is neither a file here nor base64 text") from None
    return read(_Encoded(content, where))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a file name, or a zero byte
        return False


class CamgateModel(PythonModel):
    """Classes and probabilities for images."""

    def load_context(self, context: Any) -> None:
        """Read the classifier from the logged spec and weights."""
        spec = Path(context.artifacts["spec"])
        with _own_copy(spec.parents[1] / "code"):
            from camgate.data.images import read_image
            from camgate.models.classifier import Classifier

            # This file itself is logged code: whoever loads the model has agreed to run it.
            self.classifier = Classifier.load(spec.parent, allow_code=True)
            self._read = read_image

    # MLflow reads the hint of `model_input`; this one stands for "do not check", arrays may come too.
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Predict the class of each image.

        Args:
            context: unused.
            model_input: a DataFrame with a column `image` (paths as this machine sees them, bytes of
                encoded images, or those bytes as base64 text), or whole RGB images `(N, H, W, 3)` in
                0..255.
            params: unused.

        Returns:
            One row an image: `predicted`, and the probability of each class under the class's name (a
            class called `predicted` is under `predicted (class)`).
        """
        images, index = self._images(model_input)
        classes = list(self.classifier.classes)
        channels = self.classifier.preprocessing.channels
        batch = torch.zeros(len(images), channels, *self.classifier.preprocessing.size, dtype=torch.uint8)
        for number, image in enumerate(images):
            batch[number] = self._prepared(image)
        shares = self.classifier.probabilities(batch)
        names = [classes[best] for best in shares.argmax(axis=1)] if len(shares) else []
        table = pd.DataFrame(shares, columns=[column(name) for name in classes], index=index)
        table.insert(0, PREDICTED, pd.Series(names, index=index, dtype=object))
        return table

    def _prepared(self, image: Any) -> torch.Tensor:
        whole = np.ones(image.shape[:2], dtype=bool)
        prepared: torch.Tensor = self.classifier.preprocessing.geometry(image, whole)[0]
        return prepared

    def _read_bands(self, place: Any) -> Any:
        return self._read(place, self.classifier.preprocessing.channels)

    def _images(self, model_input: Any) -> tuple[Any, Any]:
        if isinstance(model_input, pd.DataFrame):
            if COLUMN not in model_input:
                there = ", ".join(map(str, model_input.columns)) or "none"
                raise ValueError(f"the input needs a column `{COLUMN}`; its columns: {there}")
            rows = model_input[COLUMN]
            return [_pixels(value, self._read_bands, row) for row, value in rows.items()], rows.index
        array = np.asarray(model_input)
        whole = array.dtype == np.uint8 or (
            array.dtype.kind in "iu" and (not array.size or 0 <= array.min() <= array.max() <= 255)
        )
        channels = self.classifier.preprocessing.channels
        if array.ndim != 4 or array.shape[3] != channels or not whole:
            kind = "RGB images" if channels == 3 else "images"
            raise ValueError(
                f"give a DataFrame with a column `{COLUMN}`, or {kind} of shape (N, H, W, {channels}) as "
                f"whole numbers 0..255; got {array.dtype} of shape {array.shape}"
            )
        return array.astype(np.uint8), pd.RangeIndex(len(array))


mlflow.models.set_model(CamgateModel())
