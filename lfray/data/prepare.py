"""The line of a sweep's data, from source to folder: read -> rows and groups -> clean -> split -> limit -> write.

Runs once a sweep, before any trial. Its result is an artefact, not a recipe: trials open the folder by fingerprint and never
split anything again.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from lfray.data.clean import clean
from lfray.data.prepared import PreparedData, manifest, open_data, write_rows
from lfray.data.rows import ROLES, Rows, build_rows, row_ids
from lfray.data.source import locate, read_source
from lfray.data.split import check_splits, cut, given_roles, limit
from lfray.data.values import row_count, scalar_text
from lfray.errors import DataError, did_you_mean
from lfray.fingerprint import fingerprint, lines_digest
from lfray.space.facts import AttributeFacts, DataFacts
from lfray.space.trial import CODE_SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lfray.record import GroupColumn
    from lfray.spec.rows import DataSpec
    from lfray.spec.stages import TaskSpec

PREPARATION = 1
"""Raised whenever preparation decides differently: shortcuts to older results are then not taken."""


def prepare_data(spec: DataSpec, task: TaskSpec, *, folder: Path, root: Path) -> PreparedData:
    """Prepare a sweep's rows under `<root>/<fingerprint>/`, or find them there.

    A second call with the same raw files (or the same hub commit) and the same rules stops there: `<root>/index/` remembers
    what they came to. Safe to call at once from several processes.

    Args:
        spec: The sweep's data.
        task: Labels and which of them is positive.
        folder: What a relative `file:` path is relative to.
        root: Where prepared data live; shared by all sweeps of a storage.

    Returns:
        The mapped folder; its facts hold this sweep's minority.

    Raises:
        DataError: A rule about rows, groups or splits is broken.
    """
    located = locate(spec, folder=folder)
    key = _index_key(spec, task, located.identity())
    known = None if key is None else _recall(root, key)
    if known is not None:
        return PreparedData(known, root / known.fingerprint, open_data(root / known.fingerprint).dataset)
    source = read_source(spec, located)
    roles = given_roles(source.splits, spec.splits)
    read = build_rows(source.splits, roles, spec, task)
    unique, counts = clean(read, spec)
    whole = cut(unique, spec.splits, seed=spec.split_seed)
    rows = limit(whole, spec.limit, seed=spec.split_seed)
    check_splits(rows, spec)
    counts = {"read": len(read), **counts, "limited": len(whole) - len(rows), "kept": len(rows)}
    ids = row_ids(rows.content)
    facts = describe(rows, ids, spec, counts=counts, bayes_accuracy=dict(source.bayes_accuracy))
    prepared = PreparedData(facts, write_rows(rows, ids, facts, root=root), open_data(root / facts.fingerprint).dataset)
    if key is not None:
        _remember(root, key, facts)
    return prepared


def describe(
    rows: Rows, ids: NDArray[np.str_], spec: DataSpec, *, counts: dict[str, int], bayes_accuracy: dict[str, float]
) -> DataFacts:
    """The rows in numbers.

    Raises:
        DataError: The minority does not exist, has no training rows, leaves nobody else, or `auto` finds a tie.
    """
    train = rows.role == "train"
    attributes = tuple(_attribute_facts(group, train) for group in rows.groups)
    minority = next(facts for facts in attributes if facts.attribute == spec.minority_attribute)
    characters = sum(map(len, rows.text)) + (0 if rows.text_pair is None else sum(map(len, rows.text_pair)))
    return DataFacts(
        fingerprint=_fingerprint(rows, ids),
        class_names=rows.class_names,
        positive=rows.positive,
        attributes=attributes,
        minority_attribute=minority.attribute,
        minority_group=_minority(minority, spec, train_rows=int(train.sum())),
        split_rows={name: int((rows.role == name).sum()) for name in ROLES},
        split_manifests={name: manifest(ids[rows.role == name]) for name in ROLES},
        counts=counts,
        bayes_accuracy=bayes_accuracy,
        mean_characters=characters / len(rows),
    )


def _attribute_facts(group: GroupColumn, train: NDArray[np.bool_]) -> AttributeFacts:
    return AttributeFacts(
        attribute=group.attribute,
        groups=group.names,
        overlapping=group.overlapping,
        is_label=group.is_label,
        rows=dict(zip(group.names, group.member.sum(axis=0).tolist(), strict=True)),
        train_rows=dict(zip(group.names, group.member[train].sum(axis=0).tolist(), strict=True)),
    )


def _fingerprint(rows: Rows, ids: NDArray[np.str_]) -> str:
    """Over everything that a trial can see of the rows; not over the minority, which a trial's configuration names."""
    header = {
        "preparation": PREPARATION,
        "class_names": rows.class_names,
        "positive": rows.positive,
        "attributes": [[group.attribute, group.names, group.overlapping, group.is_label] for group in rows.groups],
    }
    body = (f"{row} {content} {role}" for row, content, role in zip(ids, rows.content, rows.role, strict=True))
    return lines_digest([fingerprint(header), *body])


def _minority(facts: AttributeFacts, spec: DataSpec, *, train_rows: int) -> str:
    """The group that is downsampled, as a name."""
    value = "auto" if spec.minority == "auto" else str(scalar_text(spec.minority.value))
    sizes = {name: count for name, count in facts.train_rows.items() if count}
    if value == "auto":
        smallest = [name for name, count in sizes.items() if count == min(sizes.values())]
        if len(smallest) > 1:
            raise DataError(
                f"data.minority: auto needs one smallest group of {facts.attribute} in the training rows (got "
                f"{' and '.join(smallest)} with {row_count(sizes[smallest[0]])} each). "
                f"Name one: {{group: {facts.attribute}, value: {smallest[0]}}}"
            )
        value = smallest[0] if smallest else ""
    elif value not in facts.groups:
        raise DataError(
            f"data.minority.value: must be a group of {facts.attribute} (got {value!r}). {did_you_mean(value, facts.groups)}"
        )
    if not 0 < sizes.get(value, 0) < train_rows:
        raise DataError(
            f"data.minority: the minority must have training rows and leave others (got {row_count(sizes.get(value, 0))} of "
            f"{train_rows:,} in {facts.attribute} {value!r}). Name another group"
        )
    return value


def _index_key(spec: DataSpec, task: TaskSpec, identity: str | None) -> str | None:
    """Hash of the raw rows and of every rule that can change what they come to; None where the raw rows are not known."""
    if identity is None:
        return None
    # JSON text rather than a sorted mapping: the order of groups and names is part of the rules.
    rules = spec.model_dump_json(exclude={"source", "min_group_rows", "max_tokens"})
    labels = task.model_dump_json(include={"labels", "positive"})
    return lines_digest([str(PREPARATION), str(CODE_SCHEMA), identity, rules, labels])


def _recall(root: Path, key: str) -> DataFacts | None:
    try:
        facts = DataFacts.model_validate_json((root / "index" / f"{key}.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return facts if (root / facts.fingerprint).is_dir() else None


def _remember(root: Path, key: str, facts: DataFacts) -> None:
    path = root / "index" / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{key}.{uuid.uuid4().hex}")
    temporary.write_text(facts.model_dump_json(indent=1))
    os.replace(temporary, path)
