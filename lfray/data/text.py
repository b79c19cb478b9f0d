"""Tokens of prepared rows: made once for a tokenizer, memory-mapped by every trial on every worker of a node.

The encoder is the model folder's; here it is only a Protocol, so that data and model stay strangers. The tokens lie in one Arrow
file of one batch, so that a trial sees flat numpy views of the page cache and copies nothing.

Shapes: N rows, T tokens of all rows together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from lfray.data.prepared import new_folder
from lfray.errors import DataError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lfray.data.prepared import PreparedData

_BATCH = 1000
"""Texts handed to the encoder at once: fast tokenizers gain nothing beyond it."""

_KEY = re.compile(r"[A-Za-z0-9_-]+")


class EncodedTexts(Protocol):
    """What an encoder gives back for n texts: ids of each, token types where the model knows them, whether each was cut."""

    @property
    def input_ids(self) -> Sequence[Sequence[int]]:
        """Token ids, special tokens included."""

    @property
    def token_type_ids(self) -> Sequence[Sequence[int]] | None:
        """0 or 1 a token (first or second text), or None."""

    @property
    def truncated(self) -> Sequence[bool]:
        """Whether the text was longer than the limit."""


class Encoder(Protocol):
    """Turns texts into tokens; truncates, does not pad."""

    def __call__(self, texts: list[str], pairs: list[str] | None, /) -> EncodedTexts:
        """Encode n texts, each with its pair where there are pairs."""


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Tokens of all N rows, in the order of the prepared rows; read-only views of one file.

    Row i's tokens are `tokens[offsets[i] : offsets[i + 1]]` (`tokens` int32 [T], `offsets` int64 [N + 1]); `token_types` is int8
    [T] or None, `truncated` bool [N].
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    token_types: NDArray[np.int8] | None
    truncated: NDArray[np.bool_]

    def __len__(self) -> int:
        """Rows."""
        return len(self.truncated)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, [N]."""
        return np.diff(self.offsets)


def encode_rows(prepared: PreparedData, encoder: Encoder, *, key: str) -> EncodedRows:
    """Tokens of every prepared row, made now or found in `<folder>/tokens-<key>/`.

    Args:
        prepared: The rows.
        encoder: Called only where the tokens are not there yet.
        key: What the tokens depend on besides the rows (tokenizer, limit), as a fingerprint.

    Raises:
        DataError: The encoder gives a row no token.
        StorageError: The tokens on disk are torn or of other rows.
    """
    assert _KEY.fullmatch(key), key
    folder = prepared.folder / f"tokens-{key}"
    with new_folder(folder) as temporary:
        if temporary is not None:
            _write(_encode(prepared, encoder), temporary / "tokens.arrow")
    return _open(folder / "tokens.arrow", num_rows=len(prepared))


def _encode(prepared: PreparedData, encoder: Encoder) -> EncodedRows:
    texts = prepared.dataset.data.column("text")
    pairs = prepared.dataset.data.column("text_pair") if "text_pair" in prepared.dataset.column_names else None
    tokens: list[NDArray[np.int32]] = []
    types: list[NDArray[np.int8]] = []
    lengths: list[int] = []
    truncated: list[bool] = []
    for start in range(0, len(prepared), _BATCH):
        part = texts.slice(start, _BATCH).to_pylist()
        encoded = encoder(part, None if pairs is None else pairs.slice(start, _BATCH).to_pylist())
        sizes = [len(ids) for ids in encoded.input_ids]
        assert len(sizes) == len(part) == len(encoded.truncated), "an encoder answers every text"
        if 0 in sizes:
            row = prepared.dataset[start + sizes.index(0)]
            raise DataError(
                f"data: every text must become at least one token (got none from {row['text']!r}, row {row['row_id']}). "
                "Leave it out of the source, or use another base model"
            )
        tokens.append(np.concatenate([np.asarray(ids, dtype=np.int32) for ids in encoded.input_ids]))
        if encoded.token_type_ids is not None:
            types.append(np.concatenate([np.asarray(ids, dtype=np.int8) for ids in encoded.token_type_ids]))
        lengths += sizes
        truncated += encoded.truncated
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
    flat_types = np.concatenate(types) if types else None
    assert flat_types is None or len(flat_types) == offsets[-1], "token types are given for every token or for none"
    return EncodedRows(np.concatenate(tokens), offsets, flat_types, np.array(truncated, dtype=bool))


def _write(rows: EncodedRows, path: Path) -> None:
    """One batch of one row: each column holds one whole array, so that reading is a pointer into the file."""
    arrays: dict[str, tuple[NDArray[np.generic], pa.DataType]] = {
        "tokens": (rows.tokens, pa.int32()),
        "offsets": (rows.offsets, pa.int64()),
        "truncated": (rows.truncated.view(np.uint8), pa.uint8()),
    }
    if rows.token_types is not None:
        arrays["token_types"] = (rows.token_types, pa.int8())
    columns = {
        name: pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), pa.array(values, kind))
        for name, (values, kind) in arrays.items()
    }
    batch = pa.RecordBatch.from_pydict(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _open(path: Path, *, num_rows: int) -> EncodedRows:
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: tokens cannot be read ({error}). Delete the folder and run again") from error
    views = {name: batch.column(name).values.to_numpy(zero_copy_only=True) for name in batch.schema.names}
    truncated = views["truncated"].view(np.bool_)
    if len(truncated) != num_rows:
        raise StorageError(
            f"{path}: holds tokens of {len(truncated):,} rows, the data have {num_rows:,}. Delete the folder and run again"
        )
    return EncodedRows(views["tokens"], views["offsets"], views.get("token_types"), truncated)
