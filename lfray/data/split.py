"""Which rows train, which select, which test: decided once a sweep, from content and `split_seed` alone.

A split that the sweep names is kept as it is. A fraction is cut from the training rows by a hash of their *text*, stratified by
group x label: rows of one text land on one side, a row's side does not depend on file order or on the trial's seed, and the test
rows stay the same when the fraction for validation changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lfray.data.rows import ROLES, Rows
from lfray.data.stratify import choose
from lfray.data.values import round_half_up
from lfray.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from lfray.spec.rows import DataSpec, LimitSpec, SplitsSpec


def given_roles(names: Iterable[str], spec: SplitsSpec) -> dict[str, str]:
    """Split of the source -> train, validation or test, for every split in use.

    Raises:
        DataError: A named split is not in the source, or none is left to train on.
    """
    known = sorted(names)
    roles: dict[str, str] = {}
    wanted = [(role, name) for role in ("test", "validation") if isinstance(name := getattr(spec, role), str)]
    if spec.train is not None:
        wanted += [("train", name) for name in ([spec.train] if isinstance(spec.train, str) else spec.train)]
    for role, name in wanted:
        if name not in known:
            raise DataError(f"data.splits.{role}: must be a split of the source (got {name!r}). {did_you_mean(name, known)}")
        assert name not in roles, "SplitsSpec uses a split once"
        roles[name] = role
    if spec.train is None:
        roles |= {name: "train" for name in known if name not in roles}
    if "train" not in roles.values():
        raise DataError(f"data.splits.train: a split must be left to train on (got {', '.join(known)}, all named otherwise)")
    return roles


def cut(rows: Rows, spec: SplitsSpec, *, seed: int) -> Rows:
    """Give the rows that validation and test ask for as a fraction their split.

    Args:
        rows: Clean rows in content order.
        spec: A fraction is a share of the texts in the training splits, before either is cut.
        seed: `split_seed`.

    Returns:
        The same rows, with `role` settled. Each text stands in one split only.
    """
    fractions = {role: share for role in ("test", "validation") if isinstance(share := getattr(spec, role), float)}
    role = rows.role.astype("<U10")
    total = len(np.unique(rows.text_key[role == "train"]))
    for name, share in fractions.items():
        train = np.flatnonzero(role == "train")
        _, first, unit = np.unique(rows.text_key[train], return_index=True, return_inverse=True)
        # A text with several rows (deduplicate columns or none) counts once, by its first row: all of them go together.
        texts = rows.take(train[first])
        order = hash_order(texts.text_key, salt=f"{seed}:{name}")
        count = min(round_half_up(share, total), len(texts))
        role[train[choose(texts.label, texts.groups, count=count, order=order)[unit.reshape(-1)]]] = name
    return replace(rows, role=role)


def limit(rows: Rows, spec: LimitSpec, *, seed: int) -> Rows:
    """At most so many rows of each split, stratified by group x label; the same ones for the whole sweep."""
    keep = np.ones(len(rows), dtype=bool)
    for name in ROLES:
        most = getattr(spec, name)
        index = np.flatnonzero(rows.role == name)
        if most is None or len(index) <= most:
            continue
        part = rows.take(index)
        order = hash_order(part.content, salt=f"{seed}:limit:{name}")
        chosen = choose(part.label, part.groups, count=most, order=order)
        keep[index] = False
        keep[index[order[chosen[order]][:most]]] = True
    return rows.take(keep)


def hash_order(keys: NDArray[np.str_], *, salt: str) -> NDArray[np.int64]:
    """Positions of the keys, sorted by SHA-256("<salt>:<key>"); equal keys keep their order. Int [N]."""
    digests = [hashlib.sha256(f"{salt}:{key}".encode()).digest() for key in keys.tolist()]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def check_splits(rows: Rows, spec: DataSpec) -> None:
    """Refuse splits that cannot train or measure.

    Raises:
        DataError: A split is empty, or the training rows show fewer than two classes.
    """
    for name in ROLES:
        count = int((rows.role == name).sum())
        if not count:
            got = getattr(spec.splits, name) if name != "train" else "what the others left"
            raise DataError(
                f"data.splits.{name}: must hold rows (got none from {got!r} of {len(rows):,} rows). "
                "Raise the fraction, name another split, or bring more rows"
            )
    classes = [rows.class_names[label] for label in np.unique(rows.label[rows.role == "train"]).tolist()]
    if len(classes) < 2:
        raise DataError(
            f"data.splits.train: training rows must show at least two classes (got only {', '.join(classes)}). "
            "Check the labels, or raise data.limit.train"
        )
