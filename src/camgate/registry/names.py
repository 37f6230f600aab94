"""Keys and values in the form that MLflow accepts."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST_KEY = 250
LONGEST_PARAMETER = 6000
"""Characters of a parameter's value that MLflow keeps; longer ones are cut and end in `...`."""
LONGEST_TAG = 8000
LONGEST_VERSION_TAG = 5000

_REFUSED = re.compile(r"[^A-Za-z0-9_.\- ]", re.ASCII)


def key(name: str) -> str:
    """`name` as a metric, parameter or tag key: letters, digits, `_-. ` and `/` between parts.

    MLflow allows a little more on some systems (letters of all alphabets, colons) and less on others; this
    is what all of them take. A name that had to be changed ends in eight digits of its SHA-256, so that two
    names never share a key.
    """
    parts = []
    for part in name.split("/"):
        clean = _REFUSED.sub("_", part)
        parts.append("_" if clean.strip(" ") in {"", ".", ".."} else clean)
    clean = "/".join(parts)
    if clean == name and len(name) <= LONGEST_KEY:
        return name
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: LONGEST_KEY - 9]}-{mark}"


def metrics(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Finite numbers under accepted keys; NaN, infinity and what is no number are left out."""
    kept = {}
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            kept[key(prefix + str(name))] = number
    return kept


def parameters(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Texts under accepted keys; nested mappings are flattened with dots, lists become JSON."""
    kept = {}
    for name, value in _flat(values):
        kept[key(prefix + name)] = shortened(_text(value), LONGEST_PARAMETER)
    return kept


def shortened(text: str, longest: int) -> str:
    """`text`, cut to at most `longest` characters and then ending in `...`."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _flat(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from ((f"{name}.{inner}", deep) for inner, deep in _flat(value))
        else:
            yield str(name), value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        return str(value)
