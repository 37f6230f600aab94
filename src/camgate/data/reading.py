"""Data as a run configuration describes them: where they are, how they are read, where valid pixels are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from camgate.data.camera import CameraRule, camera_regions
from camgate.data.checking import faults_outside
from camgate.data.regions import RegionRule, apply_region_rule
from camgate.data.sources import load_data
from camgate.data.zones import Zone, apply_zone
from camgate.errors import InputError, ManifestError
from camgate.storage import is_remote


class DataOptions(BaseModel):
    """How data are read, beside where they are.

    Further keys are options of the format's own reader, such as `masks` of `load_folder` or `multiple` of
    `load_coco`.

    Attributes:
        zone: fixed zone or zones of the camera, on top of what the data say.
        camera: derive regions from the difference to the camera's median where the data give none.
        region: how masks are grown, shrunk and joined with zones.
        within: refuse data that name files outside a folder, by `..`, absolute path or symbolic link: True
            for the folder of the data themselves, or a path. For data that others have put together.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    zone: Zone | tuple[Zone, ...] | None = None
    camera: CameraRule | None = None
    region: RegionRule | None = None
    within: Literal[True] | str | None = None

    @classmethod
    def read(cls, options: DataOptions | Mapping[str, Any] | str | os.PathLike[str] | None) -> DataOptions:
        """Options from a mapping or from a YAML file.

        Raises:
            InputError: no such file, no YAML mapping, or a value that cannot be used; names the key.
        """
        if isinstance(options, DataOptions):
            return options
        source = "data options"
        content: Any = options
        if isinstance(options, str | os.PathLike):
            source = str(options)
            content = _yaml(Path(options))
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
                for fault in error.errors()
            )
            raise InputError(f"{source}: {faults}") from error


def read_data(
    path: str | os.PathLike[str],
    options: DataOptions | Mapping[str, Any] | str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Read data in whatever known layout they have, and say where their valid pixels are.

    Args:
        path: see `camgate.data.sources.load_data`.
        options: see `DataOptions`; a mapping, or the path of a YAML file.

    Returns:
        A validated manifest.

    Raises:
        InputError: the data or an option cannot be used.
    """
    how = DataOptions.read(options)
    manifest = load_data(path, options=how.model_extra)
    if how.zone is not None:
        manifest = apply_zone(manifest, how.zone)
    if how.within is not None:
        _confine(manifest, path, how.within)
    if how.camera is not None:
        manifest = camera_regions(manifest, how.camera)
    if how.region is not None:
        manifest = apply_region_rule(manifest, how.region)
    return manifest


def _confine(manifest: pd.DataFrame, address: str | os.PathLike[str], within: str | bool) -> None:
    if is_remote(address):
        raise InputError("within: is for data in folders; for remote data, use access rights")
    source = Path(address)
    own = source if source.is_dir() else source.parent
    folder = str((own if within is True else Path(str(within))).absolute())
    if not os.path.isdir(folder):
        raise InputError(f"within: {folder} is no folder")
    columns = [
        manifest[name].tolist() if name in manifest else [None] * len(manifest)
        for name in ("image", "region", "zone")
    ]
    faults = [
        f"row {position + 1}, column {column}: {what}"
        for position, column, what in faults_outside(folder, *columns)
    ]
    if faults:
        raise ManifestError(str(source), faults)


def _yaml(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: the data options cannot be read ({error}).") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{file}: no YAML ({' '.join(str(error).split())}).") from error
    if content is not None and not isinstance(content, Mapping):
        raise InputError(f"{file}: a YAML mapping is expected (`key: value`), not {type(content).__name__}.")
    return content or {}
