"""The choices that change a measured number, in one frozen place, so that a record can name them all."""

from __future__ import annotations

from dataclasses import dataclass

from lfray.errors import DataError


@dataclass(frozen=True)
class MeasureSettings:
    """What `measure_classification` must be told.

    Raises:
        DataError: A count is below 1.
    """

    min_group_rows: int
    """Rows in the denominator below which a group leaves worst-group values and differences (and is named there)."""
    minority_attribute: str
    minority_group: str
    ece_bins: int = 10
    """Equal-width bins. 10 keeps some 30 rows a bin at the 300 rows below which a group's calibration error is mostly noise."""
    split: str = "test"
    null_resamples: int = 200
    """Draws of labels from the model's own probabilities; at 200 the mean's own error is a fourteenth of one draw's spread."""

    def __post_init__(self) -> None:
        for name in ("min_group_rows", "ece_bins", "null_resamples"):
            if getattr(self, name) < 1:
                raise DataError(f"measure settings: {name} must be at least 1 (got {getattr(self, name)}). Give a positive count")
