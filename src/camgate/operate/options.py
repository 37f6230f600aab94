"""Options from a run configuration: a misspelt key is an error that names the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from camgate.errors import InputError

Options = TypeVar("Options", bound=BaseModel)


def read_options(kind: type[Options], given: Mapping[str, Any] | None, section: str) -> Options:
    """The options of a section, validated; None gives the defaults.

    Raises:
        InputError: a key that there is not, or a value that cannot be used; all of them are named.
    """
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            name = ".".join(map(str, fault["loc"]))
            if fault["type"] == "extra_forbidden":
                near = difflib.get_close_matches(name, list(kind.model_fields), n=1)
                hint = (
                    f", did you mean {near[0]!r}?" if near else f"; there are {', '.join(kind.model_fields)}"
                )
                faults.append(f"{section}.{name}: no such option{hint}")
            else:
                faults.append(f"{section}.{name}: {fault['msg']}")
        raise InputError("; ".join(faults)) from error
