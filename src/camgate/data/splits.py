"""Which rows train, which validate, which are audited."""

from __future__ import annotations

import numpy as np
import pandas as pd

from camgate.data.cells import as_text
from camgate.errors import InputError

HELD_OUT = 0.15
_VALIDATION = ("validation", "val")


def audited_rows(manifest: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows an audit looks at: `split == "test"` where that column exists, else all, with a warning.

    Args:
        manifest: validated rows.

    Returns:
        The rows with a fresh index and a filled column `group` (blank: each image is its own), and
        warnings for the report.

    Raises:
        InputError: there is a column `split` but no row of it says `test`.
    """
    warnings = []
    if "split" in manifest:
        splits = _texts(manifest, "split")
        rows = manifest[splits == "test"].reset_index(drop=True)
        if rows.empty:
            raise InputError(_no_rows("test", splits, "or leave the column out to audit all rows"))
    else:
        rows = manifest.reset_index(drop=True)
        warnings.append(
            f"The manifest has no column `split`: all {len(rows)} rows are audited, "
            "and some of them may have been trained on."
        )
    ids = rows["image_id"].astype(object)
    if "group" not in rows:
        rows["group"] = ids
        warnings.append(
            "The manifest has no column `group`: images are treated as independent; if they come from one "
            "video or scene, the intervals are too narrow."
        )
        return rows, tuple(warnings)
    groups = _texts(rows, "group")
    blank = groups == ""
    if bool(blank.any()):
        warnings.append(f"{int(blank.sum())} row(s) have no `group`: each is treated as independent.")
    rows["group"] = groups.where(~blank, ids)
    return rows, tuple(warnings)


def training_rows(manifest: pd.DataFrame, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train on and those to stop by.

    Training rows are those with `split == "train"` (all rows where the column is absent); validation
    rows those with `validation` or `val`. Where there are none, about 15 % of the training rows are held
    out: whole groups, drawn by `seed`, so that the shares of the classes are as equal as groups allow.

    Args:
        manifest: validated rows.
        seed: decides which groups are held out.

    Returns:
        Training and validation rows, each with a fresh index.

    Raises:
        InputError: no training row, a single class, or nothing that can be held out.
    """
    if "split" in manifest:
        splits = _texts(manifest, "split")
        train = manifest[splits == "train"].reset_index(drop=True)
        if train.empty:
            raise InputError(_no_rows("train", splits, "or leave the column out to train on all rows"))
        validation = manifest[splits.isin(_VALIDATION)].reset_index(drop=True)
    else:
        train = manifest.reset_index(drop=True)
        validation = train.iloc[:0]
    classes = sorted(set(_texts(train, "label")))
    if len(classes) < 2:
        raise InputError(
            f"All {len(train)} training rows have the label {classes[0]!r}: a classifier needs two classes "
            "or more; check the column `label` and the rows with split `train`."
        )
    if not validation.empty:
        return train, validation
    held = _held_out(train, seed)
    return train[~held].reset_index(drop=True), train[held].reset_index(drop=True)


def _held_out(train: pd.DataFrame, seed: int) -> pd.Series[bool]:
    """Whole groups, in random order, each taken when it brings every class closer to its 15 %."""
    labels = _texts(train, "label")
    groups = _groups(train)
    counts = pd.crosstab(groups, labels)
    table = counts.to_numpy(dtype=float)
    total = table.sum(axis=0)
    taken = np.zeros(len(table), dtype=bool)
    held = np.zeros_like(total)

    def distance(candidate: np.ndarray) -> float:
        return float((((candidate / total) - HELD_OUT) ** 2).sum())

    order = np.random.default_rng(seed).permutation(len(table))
    for group in order:
        candidate = held + table[group]
        if (candidate < total).all() and distance(candidate) < distance(held):
            taken[group], held = True, candidate
    # A class that got nothing (few groups) gets its smallest group, unless another would then lose its last.
    for position in np.flatnonzero(held == 0):
        having = order[(table[order, position] > 0) & ~taken[order]]
        for group in having[np.argsort(table[having].sum(axis=1), kind="stable")]:
            candidate = held + table[group]
            if held[position] == 0 and (candidate < total).all():
                taken[group], held = True, candidate
    if not taken.any():
        raise InputError(
            "No validation rows can be held out: every group is needed to keep all classes in training "
            f"({len(table)} group(s) in {len(train)} rows). Mark rows with split `validation`, or give "
            "finer groups."
        )
    return groups.isin(counts.index[taken])


def _groups(rows: pd.DataFrame) -> pd.Series[str]:
    """Group of each row; blank or absent: the row alone, under a name that no group can have."""
    own = pd.Series([f"\0{position}" for position in range(len(rows))], index=rows.index, dtype=object)
    if "group" not in rows:
        return own
    groups = _texts(rows, "group")
    return groups.where(groups != "", own)


def _texts(rows: pd.DataFrame, column: str) -> pd.Series[str]:
    return pd.Series([as_text(cell) for cell in rows[column]], index=rows.index, dtype=object)


def _no_rows(wanted: str, splits: pd.Series[str], otherwise: str) -> str:
    found = ", ".join(f"{name or '(blank)'} ({count})" for name, count in splits.value_counts().items())
    return (
        f"No row of the manifest has split {wanted!r}; its values are: {found or 'none'}. "
        f"Mark the rows, {otherwise}."
    )
