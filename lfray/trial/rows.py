"""Between data, task and engine: a split's rows as token rows, and scores as the predictions table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lfray.record import Predictions
from lfray.rows import TokenRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lfray.data.prepared import SplitRows
    from lfray.data.text import EncodedRows
    from lfray.space.trial import TrialConfig
    from lfray.tasks.classification import SequenceObjective, VerbalizerObjective


@dataclass(frozen=True, eq=False)
class SplitTokens:
    """Token rows of splits, as the objective lays them out."""

    encoded: EncodedRows
    objective: SequenceObjective | VerbalizerObjective
    pad_id: int

    def training(self, split: SplitRows) -> TokenRows:
        """Rows to learn from."""
        return self.objective.training_rows(self._plain(split))

    def scoring(self, split: SplitRows) -> TokenRows:
        """Rows to score."""
        return self.objective.scoring_rows(self._plain(split))

    def _plain(self, split: SplitRows) -> TokenRows:
        starts = self.encoded.offsets[:-1][split.index]
        lengths = self.encoded.offsets[1:][split.index] - starts
        return TokenRows(self.encoded.tokens, starts, lengths, split.label, self.encoded.token_types)


def predictions(
    objective: SequenceObjective | VerbalizerObjective,
    scores: NDArray[np.float32],
    name: str,
    split: SplitRows,
    config: TrialConfig,
) -> Predictions:
    """The predictions table of one split."""
    scored = objective.scored(scores)
    return Predictions(
        row_id=split.row_id,
        split=np.full(len(split.row_id), name),
        label=split.label,
        prediction=scored.prediction,
        logits=scored.logits,
        class_names=config.task.class_names,
        positive=config.task.positive,
        groups=split.groups,
        parsed=scored.parsed,
    )
