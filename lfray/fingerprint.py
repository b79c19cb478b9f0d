"""Canonical bytes of a configuration and their hash: what an identity is made of.

A trial's id must come out the same on every machine, in every process, for ever. So only values with one stable written
form are let in: None, bool, int, finite float, str, and lists, tuples and string-keyed mappings of these. A set, a path, a
NaN, an object's repr are refused rather than hashed into an id that tomorrow would not reproduce.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

from lfray.errors import LfrayError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ID_LENGTH = 16
"""Hex digits of an id: 64 bits, so 10^6 trials collide with probability 3e-8."""


def canonical(value: object, *, path: str = "$") -> object:
    """The value in its one stable form.

    Integral floats stay floats (`1.0` is written `1.0`), so `1` and `1.0` differ: pydantic has already coerced by type.

    Raises:
        LfrayError: The value (or one inside it) has no stable form; the message names its path.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise LfrayError(f"fingerprint: {path}: must be finite (got {value}). Leave undefined values out")
            return value
        case list() | tuple():
            return [canonical(item, path=f"{path}[{index}]") for index, item in enumerate(value)]
        case dict():
            for key in value:
                if not isinstance(key, str):
                    raise LfrayError(f"fingerprint: {path}: keys must be text (got {key!r})")
            return {key: canonical(value[key], path=f"{path}.{key}") for key in sorted(value)}
        case _:
            raise LfrayError(
                f"fingerprint: {path}: {type(value).__name__} has no stable written form. Use numbers, text, lists or mappings"
            )


def canonical_bytes(value: object) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; floats in Python's shortest round-trip form."""
    text = json.dumps(canonical(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LfrayError(
            f"fingerprint: text must be UTF-8 (got {error.object[error.start]!r}). Write the character whole"
        ) from error


def fingerprint(value: object) -> str:
    """SHA-256 of the canonical bytes, first 16 hex digits."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()[:ID_LENGTH]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, full hex; reads 1 MiB at a time."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def lines_digest(lines: Iterable[str]) -> str:
    """SHA-256 over lines, each ended by one newline; first 16 hex digits. Order matters: sort first where it must not."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()[:ID_LENGTH]
