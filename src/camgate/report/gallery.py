"""The gallery: cards of the worst images, of a random sample and of clusters, and all rows as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from camgate.audit.result import AuditResult, ClusterRecord, GalleryItem
from camgate.report import text
from camgate.report.pictures import BUDGET, Layers, layers
from camgate.report.words import IMAGE_STATES

PER_KIND = 60
"""Cards of each kind at most."""
MOST_ROWS = 20_000
"""Rows in the table of all images at most, the highest invalid activation first."""


@dataclass(frozen=True)
class Card:
    """A gallery card; `row` is its image's place in the table, by which the page filters and sorts it."""

    anchor: str
    row: int
    image_id: str
    label: str
    predicted: str
    correct: bool
    confidence: str
    activation: str
    lift: str
    scored: bool
    state: str
    state_note: str
    alt: str
    picture: Layers


@dataclass(frozen=True)
class ClusterCard:
    """One way in which the model looks at a class, with its most typical image."""

    sentence: str
    activation: str
    fixed: bool
    card: Card


@dataclass(frozen=True)
class Choice:
    """A filter: the column's place in a row of the table, its name for people, and its values."""

    column: int
    title: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """What the section shows.

    Attributes:
        worst, sample: cards by rank.
        clusters: fixed places first.
        choices: the filters.
        rows: JSON of the table: `columns`, `words` (the values of the coded columns), `rows`.
        left_out: images without a row, because there are more than `MOST_ROWS`.
        more: pictures that are in the audit folder only.
    """

    worst: tuple[Card, ...]
    sample: tuple[Card, ...]
    clusters: tuple[ClusterCard, ...]
    choices: tuple[Choice, ...]
    rows: Markup
    left_out: int
    more: int


COLUMNS = (
    "image",
    "class",
    "predicted",
    "confidence",
    "outside the object",
    "lift",
    "status",
    "group",
)
_WORDS = {"class": "label", "predicted": "predicted", "status": "status", "group": "group"}


def anchors(result: AuditResult) -> dict[str, str]:
    """Image id -> anchor of its gallery card, the one among the worst where it has several."""
    return {item.image_id: _anchor(item) for item in reversed(_kept(result))}


def gallery(result: AuditResult) -> Gallery:
    """Cards and table of an audit."""
    kept = _kept(result)
    table = _ordered(result)
    place = {name: number for number, name in enumerate(table["image_id"].astype(str))}
    rows: dict[str, dict[str, Any]] = {
        str(row["image_id"]): row  # type: ignore[misc]
        for row in table[table["image_id"].isin({item.image_id for item in kept})].to_dict("records")
    }
    budget = BUDGET // max(len(kept), 1)
    cards = [
        (item, _card(item, rows.get(item.image_id, {}), place.get(item.image_id, -1), budget))
        for item in kept
    ]
    slices = tuple(name for name in result.settings.slices if name in table)
    shown = table.head(MOST_ROWS)
    return Gallery(
        worst=tuple(card for item, card in cards if item.kind == "worst"),
        sample=tuple(card for item, card in cards if item.kind == "sample"),
        clusters=_clusters(result, [(item, card) for item, card in cards if item.kind == "cluster"]),
        choices=_choices(shown, slices),
        rows=rows_json(shown, slices),
        left_out=len(table) - len(shown),
        more=len(result.gallery) - len(kept),
    )


def rows_json(table: pd.DataFrame, slices: tuple[str, ...]) -> Markup:
    """The table as JSON that may stand inside a `script` element.

    `columns` are the names; `words` has the values of the columns that are coded by number; a missing number
    is null, a missing word -1.
    """
    columns: list[list[Any]] = [[text.plain(str(name)) for name in table["image_id"]]]
    words: dict[int, list[str]] = {}
    for name in (*COLUMNS[1:], *slices):
        if name in COLUMNS and name not in _WORDS:
            source = {"confidence": "confidence", "outside the object": "invalid_activation"}
            values = table[source.get(name, "invalid_lift")].astype(float)
            columns.append([None if np.isnan(value) else round(value, 4) for value in values])
        else:
            codes, found = pd.factorize(table[_WORDS.get(name, name)].astype(object), use_na_sentinel=True)
            words[len(columns)] = [text.plain(str(value)) for value in found]
            columns.append(codes.tolist())
    content = {
        "columns": [text.plain(name) for name in (*COLUMNS, *slices)],
        "words": words,
        "rows": list(zip(*columns, strict=True)),
    }
    written = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for character in "<>&":  # nothing in it may end the element that it stands in
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)  # noqa: S704 - escaped just now


def _ordered(result: AuditResult) -> pd.DataFrame:
    """The scores, the highest invalid activation first, images without one last."""
    scores = result.scores.drop_duplicates("image_id")
    return scores.sort_values("invalid_activation", ascending=False, na_position="last", kind="stable")


def _choices(table: pd.DataFrame, slices: tuple[str, ...]) -> tuple[Choice, ...]:
    titles = {"class": "Class", "predicted": "Predicted", "status": "Status"}
    found = []
    for column, name in enumerate((*COLUMNS, *slices)):
        if name in titles or name in slices:
            values = table[_WORDS.get(name, name)].dropna().astype(str).unique()
            if len(values) > 1:
                told = tuple(sorted(text.plain(value) for value in values))
                found.append(Choice(column, titles.get(name, text.plain(name)), told))
    return tuple(found)


def _clusters(result: AuditResult, cards: list[tuple[GalleryItem, Card]]) -> tuple[ClusterCard, ...]:
    """The clusters that have a picture, in the order in which these were kept."""
    order = sorted(result.clusters, key=lambda cluster: (not cluster.fixed_place, -cluster.images))
    return tuple(
        ClusterCard(
            sentence=order[item.rank].in_words,
            activation=_share(order[item.rank], result.region_free),
            fixed=order[item.rank].fixed_place,
            card=card,
        )
        for item, card in cards
        if item.rank < len(order)
    )


def _share(cluster: ClusterRecord, region_free: tuple[str, ...]) -> str:
    if cluster.label in region_free:
        return "the class has no objects"
    if cluster.invalid_activation is None:
        return "no image of it has a valid region"
    return f"{text.number(cluster.invalid_activation, 'percent')} of its heat lies outside the objects"


def _kept(result: AuditResult) -> list[GalleryItem]:
    kinds = ("worst", "sample", "cluster")
    items = sorted(result.gallery, key=lambda item: (kinds.index(item.kind), item.rank))
    return [item for item in items if item.rank < PER_KIND]


def _anchor(item: GalleryItem) -> str:
    return f"{item.kind}-{item.rank}"


def _card(item: GalleryItem, row: Mapping[str, Any], place: int, budget: int) -> Card:
    label, predicted = text.word(row.get("label")), text.word(row.get("predicted"))
    share, confidence = text.finite(row.get("invalid_activation")), text.finite(row.get("confidence"))
    state, note = IMAGE_STATES.get(str(row.get("status")), (text.word(row.get("status")), ""))
    scored = note
    if share is not None:
        scored = f"{text.number(share, 'percent')} of the heatmap mass lies outside it"
    return Card(
        anchor=_anchor(item),
        row=place,
        image_id=item.image_id,
        label=label,
        predicted=predicted,
        correct=label == predicted,
        confidence=text.number(confidence, "percent"),
        activation=text.number(share, "percent"),
        lift=text.number(row.get("invalid_lift"), "ratio"),
        scored=row.get("status") == "ok",
        state=state,
        state_note=note,
        alt=(
            f"{label}, predicted {predicted}: the image, its heatmap, and the heatmap with the outline of "
            f"the valid region; {scored}."
        ),
        picture=layers(item.image, item.heatmap, item.region, budget=budget),
    )
