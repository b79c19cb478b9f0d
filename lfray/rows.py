"""`TokenRows`: tokenised rows as flat arrays, the one form in which data reaches tasks and the engine.

It carries no text, no group and no name of a protected attribute, so a change for speed cannot touch what is measured.
Shapes: N rows, S tokens in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Ragged token rows.

    Row i holds `tokens[starts[i] : starts[i] + lengths[i]]`; `token_types` follows the same layout where the model has them.
    `label` is int64 [N]; `extra` are further int64 [N] columns that a task asked for and the engine hands back unread.
    """

    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    label: NDArray[np.int64]
    token_types: NDArray[np.int8] | None = None
    extra: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        """N."""
        return len(self.starts)

    def take(self, index: NDArray[np.int64]) -> TokenRows:
        """The rows at `index`, in its order; tokens are shared, not copied."""
        return TokenRows(
            self.tokens,
            self.starts[index],
            self.lengths[index],
            self.label[index],
            self.token_types,
            {name: column[index] for name, column in self.extra.items()},
        )


def from_lists(
    rows: list[list[int]], label: NDArray[np.int64], extra: Mapping[str, NDArray[np.int64]] | None = None
) -> TokenRows:
    """Rows given as lists of token ids."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if len(rows) else np.zeros(0, np.int64)
    tokens = np.array([token for row in rows for token in row], dtype=np.int32)
    return TokenRows(tokens, starts, lengths, label, None, dict(extra or {}))
