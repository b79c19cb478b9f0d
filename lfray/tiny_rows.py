"""Planted rows for a tiny sweep: the splits, columns, labels and groups that its data part names, and a signal to learn.

Every text holds one word that tells its label; the minority has words of its own for it, so that what few of its rows cost can show.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from lfray.names import parse_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.spec.rows import GroupSpec
    from lfray.spec.sweep import SweepSpec

SPLIT_ROWS = {"train": 480, "validation": 110, "test": 240}
"""Rows that are made; `data.limit` of the tiny sweep takes fewer."""
MINORITY_WEIGHT = 0.7
"""Of a minority beside each other group, 1."""
MISSING = 0.05
"""Share of rows without a value, where the sweep says which group takes them."""
_WORDS = (
    "river", "window", "paper", "garden", "letter", "engine", "winter", "bottle", "market", "silver", "button", "corner",
    "island", "mirror", "pocket", "ribbon", "saddle", "ticket", "valley", "walnut", "yellow", "zipper", "basket", "candle",
)  # fmt: skip
_CUES = ("grim", "fine", "dull", "warm", "vast", "thin", "loud", "calm")
"""A label's word begins with one of these; further labels count on."""

Columns = dict[str, list[Any]]


def planted(spec: SweepSpec) -> dict[str, Columns]:
    """Split of the source -> column -> cells: numbers, booleans or text, None where missing. The same for the same sweep."""
    splits, column = _splits(spec), spec.data.split_column
    tables = {
        split: _rows(spec, rows, seed=index, splits=[split] if column else [])
        for index, (split, rows) in enumerate(splits.items())
    }
    if column is None:
        return tables
    return {"train": {name: [cell for table in tables.values() for cell in table[name]] for name in next(iter(tables.values()))}}


def texts_of(spec: SweepSpec) -> list[str]:
    """What a tokenizer should write in few tokens: the planted texts, the template and the answers."""
    rows = _rows(spec, 200, seed=0, splits=[])
    texts = list(rows[spec.data.columns.text])
    verbalizer = spec.task.verbalizer
    if verbalizer is not None:
        asked = " ".join([verbalizer.template, *(f" {answer}" for answer in verbalizer.answers.values())])
        texts += [asked] * len(texts)
    return texts


def _splits(spec: SweepSpec) -> dict[str, int]:
    """Split of the source -> rows; a split to train on is always there."""
    named = spec.data.splits.named
    found = {name: SPLIT_ROWS[str(path[0])] for path, name in named}
    if spec.data.splits.train is None:
        found["train" if "train" not in found else "rest"] = SPLIT_ROWS["train"]
    return found


def _labels(spec: SweepSpec) -> list[Any]:
    """The labels, as the sweep writes them; 0 and 1 where it names none."""
    if spec.task.labels is not None:
        return list(spec.task.labels)
    if spec.task.verbalizer is not None:
        return list(spec.task.verbalizer.answers)
    for group in spec.data.groups.values():
        if group.column == spec.data.columns.label and group.names:
            return list(group.names)
    classes = {key.of_class for key in map(parse_key, spec.objectives) if key.of_class is not None}
    named = [*([] if spec.task.positive is None else [spec.task.positive]), *sorted(classes)]
    extra = [label for label in named if str(label) not in ("0", "1")]
    return [0, 1] if not extra else list(dict.fromkeys(["other", *map(str, named)]))


def _values(spec: SweepSpec, attribute: str, group: GroupSpec) -> tuple[list[Any], list[float]]:
    """The values of a group's column, and how often each stands in it; the minority's is the rarest."""
    wanted = str(_minority(spec, attribute) or "")
    if group.names:
        values: list[Any] = list(group.names)
        rare = next(
            (value for value in values if group.names[value] == wanted), values[0] if spec.data.minority == "auto" else None
        )
    elif group.column == spec.data.columns.label:
        values = _labels(spec)
        rare = next((value for value in values if str(value) == wanted), values[0])
    else:
        keys = [parse_key(text) for text in spec.objectives]
        named = [key.group for key in keys if key.group and (key.attribute or spec.data.minority_attribute) == attribute]
        values = list(dict.fromkeys([*([wanted] if wanted else []), *named]))
        values += [name for name in ("north", "south") if name not in values][: max(0, 2 - len(values))]
        rare = wanted or values[0]
    if rare is None:
        rare = values[0]
    return values, [MINORITY_WEIGHT if value == rare else 1.0 for value in values]


def _minority(spec: SweepSpec, attribute: str) -> str | None:
    minority = spec.data.minority
    if minority == "auto" or minority.group != attribute or minority.value == "auto":
        return None
    return str(minority.value)


def _rows(spec: SweepSpec, count: int, *, seed: int, splits: Sequence[str]) -> Columns:
    """`count` rows with every column that the sweep names."""
    draw, data = random.Random(seed), spec.data
    columns: Columns = {}
    labels, weights = _labels(spec), [1.0] * len(_labels(spec))
    for attribute, group in data.groups.items():
        if group.column == data.columns.label:
            labels, weights = _values(spec, attribute, group)
    label = draw.choices(labels, weights, k=count)
    columns[data.columns.label] = label
    for attribute, group in data.groups.items():
        if group.column is not None and group.column not in columns:
            values, shares = _values(spec, attribute, group)
            cells = draw.choices(values, shares, k=count)
            columns[group.column] = [None if group.missing and draw.random() < MISSING else cell for cell in cells]
        flags = list(group.flags or {})
        for index, name in enumerate(flags):
            # Spread out, so that one group is the smallest without a tie.
            share = 0.2 + 0.3 * index / len(flags)
            rare = name == _minority(spec, attribute)
            columns[(group.flags or {})[name]] = [draw.random() < (0.15 if rare else share) for _ in range(count)]
    rare_rows = _rare_rows(spec, columns, count)
    order = [str(value) for value in _labels(spec)]
    for column in filter(None, (data.columns.text, data.columns.text_pair)):
        columns[column] = [
            _text(draw, order.index(str(label[row])), rare=rare_rows[row], number=f"{seed}{row:04d}") for row in range(count)
        ]
    if splits:
        columns[data.split_column or ""] = list(splits) * count
    return {name: _one_type(cells) for name, cells in columns.items()}


def _rare_rows(spec: SweepSpec, columns: Columns, count: int) -> list[bool]:
    """Which rows are the minority's; none where the label is the group, since the label has its words already."""
    attribute = spec.data.minority_attribute
    group = spec.data.groups[attribute]
    if group.column is None:
        flags = group.flags or {}
        return [bool(cell) for cell in columns[flags.get(_minority(spec, attribute) or "", next(iter(flags.values())))]]
    if group.column == spec.data.columns.label:
        return [False] * count
    values, shares = _values(spec, attribute, group)
    rare = values[shares.index(min(shares))]
    return [cell == rare for cell in columns[group.column]]


def _text(draw: random.Random, label: int, *, rare: bool, number: str) -> str:
    """Neutral words around the one that tells the label. The number makes every text another one."""
    cue = _CUES[label % len(_CUES)] + ("ish" if rare else "") + (str(label // len(_CUES)) if label >= len(_CUES) else "")
    words = draw.choices(_WORDS, k=draw.randint(4, 9))
    words.insert(draw.randint(0, len(words)), cue)
    return " ".join([*words, number])


def _one_type(cells: list[Any]) -> list[Any]:
    """The cells, as text where their types differ: a column of a parquet file has one type."""
    if len({type(cell) for cell in cells if cell is not None}) <= 1:
        return cells
    return [None if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell) for cell in cells]
