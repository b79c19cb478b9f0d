"""One split of one trial, measured: the straight line from predictions to the rows a record keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfray.evaluation.calibration import calibration_measures
from lfray.evaluation.cells import canonical, cells, check_table
from lfray.evaluation.disparity import disparity_measures
from lfray.evaluation.margins import margin_measures
from lfray.evaluation.rates import rate_measures
from lfray.evaluation.settings import MeasureSettings

if TYPE_CHECKING:
    from lfray.record import Measure, Predictions

__all__ = ["MeasureSettings", "measure_classification"]


def measure_classification(table: Predictions, settings: MeasureSettings) -> tuple[Measure, ...]:
    """Every classification measure of the rows of `settings.split`.

    In order: rates of all rows, rates of each group, disparities of each attribute, calibration, margins. Rows of other splits
    are left aside; without rows every value is undefined (`empty_group`). The result does not depend on the order of the rows.

    Raises:
        DataError: The table breaks a rule of `cells.check_table`, or has not the minority attribute or group of the settings.
    """
    check_table(table)
    rows = canonical(table.of_split(settings.split))
    parts = cells(rows)
    return (
        *rate_measures(rows, parts, settings.split),
        *disparity_measures(rows, settings),
        *calibration_measures(rows, parts, settings),
        *margin_measures(rows, parts, settings.split),
    )
