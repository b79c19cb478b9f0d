from __future__ import annotations

import pytest

from lfray.errors import DataError
from lfray.evaluation.settings import MeasureSettings


@pytest.mark.parametrize("name", ["min_group_rows", "ece_bins", "null_resamples"])
def test_counts_below_one_are_refused(name: str) -> None:
    fields = {"min_group_rows": 1, "ece_bins": 10, "null_resamples": 200} | {name: 0}
    with pytest.raises(DataError, match=f"{name} must be at least 1"):
        MeasureSettings(minority_attribute="g", minority_group="a", **fields)  # type: ignore[arg-type]
