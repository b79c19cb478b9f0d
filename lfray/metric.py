"""What a metric is: key, unit, good direction, scope; and the codes that say why a value is undefined. `names` holds the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Better(Enum):
    """Which way is good. `NEITHER` marks a description (a share, a rate) that cannot be an objective by itself."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


class Scope(Enum):
    """Over which rows a metric is one number."""

    ALL = "all"
    """All evaluated rows, and each group as `/<attribute>/<group>`."""
    ATTRIBUTE = "attribute"
    """A summary over the groups of one attribute (or one member-versus-non-member pair of an overlapping one)."""
    TRIAL = "trial"
    """The trial as a whole: costs."""


@dataclass(frozen=True)
class Metric:
    """One measured quantity."""

    key: str
    unit: str
    better: Better
    meaning: str
    source: str = ""
    scope: Scope = Scope.ALL
    hardware_dependent: bool = False
    """Compared within one hardware key only."""
    count: bool = False
    """Spans orders of magnitude and may be 0: plots and hypervolume use log10(1 + x)."""
    label_free_of_group: bool = False
    """Has no meaning where the label determines the group (reason `group_is_label`)."""


REASONS: Final = {
    "empty_group": "the group has no rows",
    "no_positives": "the group has no positive rows",
    "no_negatives": "the group has no negative rows",
    "no_predicted_positives": "nothing was predicted positive",
    "undefined_cell": "a group's rate inside it is undefined",
    "single_group": "fewer than two covered groups",
    "group_is_label": "the label determines the group",
    "overlapping_groups": "the groups overlap; compare member with non-member (/attribute/group)",
    "multiclass": "more than two classes; read the one-vs-rest form (.class_<name>)",
    "no_gpu": "no GPU was used",
    "no_energy_counter": "the machine reports no energy",
    "no_training": "the method does not train",
    "zero_denominator": "the denominator is zero",
    "below_n_min": "fewer rows than min_group_rows",
    "one_class": "only one class occurs",
    "unparsed_label": "the generated label matches no option, or several",
    "no_scores": "the model gives labels without scores",
    "non_finite": "NaN or infinite",
    "no_reference": "no full fine-tuning trial with the same ratio and seed is recorded",
    "ambiguous_reference": "several full fine-tuning trials share the ratio and seed",
    "not_measured": "the trial did not measure it",
    "trial_failed": "the trial failed",
    "covers_differ": "its summary covers other groups than most trials' do, so the two are not compared",
    "unknown_formula": "the model's configuration does not say what the formula needs",
}
"""Why a value is undefined: code -> plain words."""
