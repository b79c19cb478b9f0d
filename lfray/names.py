"""Every metric, named once: key, unit, good direction, one-line meaning, source.

No string key of a metric stands anywhere else. A *flat key* addresses one number of one trial and is what objectives,
MLflow metrics and table columns are called:

    [validation.]<metric key>[.class_<class>][/<attribute>[/<group>]]

`fair.worst_group_accuracy` alone is the metric for the sweep's minority attribute; `/<attribute>` names another attribute,
`/<attribute>/<group>` one group of it. Class, attribute and group are escaped without collision into the characters MLflow
accepts in a metric's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lfray.errors import LfrayError, did_you_mean
from lfray.metric import REASONS, Better, Metric, Scope

__all__ = ["METRICS", "REASONS", "Better", "Metric", "MetricKey", "Scope", "escape", "parse_key", "unescape"]

_H, _L, _N = Better.HIGHER, Better.LOWER, Better.NEITHER

ACCURACY = Metric("accuracy", "1", _H, "share of rows whose prediction equals the label")
ERROR_RATE = Metric("error_rate", "1", _L, "share of rows whose prediction differs from the label")
SELECTION_RATE = Metric("selection_rate", "1", _N, "share of rows predicted positive")
TRUE_POSITIVE_RATE = Metric("true_positive_rate", "1", _H, "share of positives that are predicted positive")
FALSE_POSITIVE_RATE = Metric("false_positive_rate", "1", _L, "share of negatives that are predicted positive")
PRECISION = Metric("precision", "1", _H, "share of predicted positives that are positive")
F1 = Metric("f1", "1", _H, "harmonic mean of precision and true-positive rate of the positive class")
MACRO_F1 = Metric("macro_f1", "1", _H, "unweighted mean of the classes' F1")
CROSS_ENTROPY = Metric("cross_entropy", "nat", _L, "mean of -log p(label) over rows")
UNPARSED_RATE = Metric("unparsed_rate", "1", _L, "share of generated labels that match no option, or several")

WORST_GROUP_ACCURACY = Metric(
    "fair.worst_group_accuracy", "1", _H, "smallest accuracy of any covered group", "Sagawa et al. 2020", Scope.ATTRIBUTE
)
WORST_GROUP_ERROR = Metric(
    "fair.worst_group_error",
    "1",
    _L,
    "largest error of any covered group",
    "Das et al. 2024 (arXiv 2405.18572), first reading of accuracy parity",
    Scope.ATTRIBUTE,
)
ACCURACY_GAP = Metric("fair.accuracy_gap", "1", _L, "largest minus smallest accuracy over groups", "", Scope.ATTRIBUTE)
ERROR_SPREAD = Metric(
    "fair.error_spread",
    "1",
    _L,
    "largest minus smallest error over groups (equals accuracy_gap)",
    "Das et al. 2024 (arXiv 2405.18572), second reading of accuracy parity",
    Scope.ATTRIBUTE,
)
DEMOGRAPHIC_PARITY_DIFFERENCE = Metric(
    "fair.demographic_parity_difference",
    "1",
    _L,
    "largest minus smallest selection rate over groups",
    "Agarwal et al. 2018; fairlearn",
    Scope.ATTRIBUTE,
    label_free_of_group=True,
)
DEMOGRAPHIC_PARITY_DIFFERENCE_TO_OVERALL = Metric(
    "fair.demographic_parity_difference_to_overall",
    "1",
    _L,
    "largest distance of a group's selection rate to the overall one",
    "fairlearn (method=to_overall)",
    Scope.ATTRIBUTE,
    label_free_of_group=True,
)
DEMOGRAPHIC_PARITY_SIGNED = Metric(
    "fair.demographic_parity_signed",
    "1",
    _N,
    "selection rate of the minority minus that of everybody else",
    "AIF360 statistical_parity_difference",
    Scope.ATTRIBUTE,
    label_free_of_group=True,
)
DEMOGRAPHIC_PARITY_RATIO = Metric(
    "fair.demographic_parity_ratio",
    "1",
    _H,
    "smallest over largest selection rate of groups",
    "fairlearn",
    Scope.ATTRIBUTE,
    label_free_of_group=True,
)
EQUALIZED_ODDS_DIFFERENCE = Metric(
    "fair.equalized_odds_difference",
    "1",
    _L,
    "larger of the ranges of true- and false-positive rate over groups",
    "Hardt, Price, Srebro 2016, Definition 2.1 (as a gap, worst case)",
    Scope.ATTRIBUTE,
    label_free_of_group=True,
)
EQUALIZED_ODDS_DIFFERENCE_MEAN = Metric(
    "fair.equalized_odds_difference_mean",
    "1",
    _L,
    "mean of the ranges of true- and false-positive rate over groups",
    "fairlearn (agg=mean)",
    Scope.ATTRIBUTE,
    label_free_of_group=True,
)
EQUAL_OPPORTUNITY_DIFFERENCE = Metric(
    "fair.equal_opportunity_difference",
    "1",
    _L,
    "largest minus smallest true-positive rate over groups",
    "Hardt, Price, Srebro 2016",
    Scope.ATTRIBUTE,
    label_free_of_group=True,
)
HARMFUL_BIAS_GAP = Metric(
    "fair.harmful_bias_gap",
    "1",
    _L,
    "accuracy of the full fine-tuning trial minus this trial's, on one group (signed)",
    "Das et al. 2024 (arXiv 2405.18572)",
    Scope.ATTRIBUTE,
)
HARMFUL_BIAS_GAP_ABSOLUTE = Metric(
    "fair.harmful_bias_gap_absolute",
    "1",
    _L,
    "absolute value of the harmful bias gap",
    "Das et al. 2024 (arXiv 2405.18572)",
    Scope.ATTRIBUTE,
)

_KUMAR = "Naeini et al. 2015; Guo et al. 2017"
ECE_POS = Metric("calib.ece_pos", "1", _L, "bin-weighted |mean p(positive) - rate of positives|", "torchmetrics (binary)")
ECE_TOP = Metric("calib.ece_top", "1", _L, "bin-weighted |mean top probability - accuracy|", _KUMAR)
ECE_POS_NULL_CORRECTED = Metric(
    "calib.ece_pos_null_corrected", "1", _L, "ece_pos minus what a calibrated model reads at this size"
)
ECE_TOP_NULL_CORRECTED = Metric(
    "calib.ece_top_null_corrected", "1", _L, "ece_top minus what a calibrated model reads at this size"
)
BRIER = Metric("calib.brier", "1", _L, "mean squared distance of the class probabilities to the label", "Brier 1950")

MARGIN_MEAN = Metric("margin.mean", "1", _N, "mean of logit of the label minus largest other logit")
MARGIN_QUANTILES: Final = {
    level: Metric(f"margin.q{level:02d}", "1", _N, f"{level} % quantile of the logit margin") for level in (5, 25, 50, 75, 95)
}
MARGIN_NEAR = Metric("margin.share_within_0_1", "1", _N, "share of rows whose probability margin is within 0.1 of the boundary")

TRAINABLE_PARAMETERS = Metric(
    "cost.trainable_parameters", "count", _L, "parameters that receive gradients", "", Scope.TRIAL, count=True
)
TOTAL_PARAMETERS = Metric("cost.total_parameters", "count", _L, "all parameters, adapter included", "", Scope.TRIAL, count=True)
ADAPTER_PARAMETERS = Metric(
    "cost.adapter_parameters", "count", _L, "parameters the adapter adds to the base", "", Scope.TRIAL, count=True
)
ADAPTER_BYTES = Metric(
    "cost.adapter_bytes", "byte", _L, "size of what must be kept beside the base to use the trial", "", Scope.TRIAL, count=True
)
TRAIN_SECONDS = Metric("cost.train_seconds", "s", _L, "wall time of training", "", Scope.TRIAL, hardware_dependent=True)
EVALUATION_SECONDS = Metric(
    "cost.evaluation_seconds", "s", _L, "wall time of scoring all evaluation rows", "", Scope.TRIAL, hardware_dependent=True
)
GPU_SECONDS = Metric(
    "cost.gpu_seconds",
    "s",
    _L,
    "training and evaluation time x GPUs, summed over workers",
    "",
    Scope.TRIAL,
    hardware_dependent=True,
)
WORKER_SECONDS = Metric(
    "cost.worker_seconds", "s", _L, "training and evaluation time summed over workers", "", Scope.TRIAL, hardware_dependent=True
)
PEAK_MEMORY_GIB = Metric(
    "cost.peak_memory_gib", "GiB", _L, "largest memory of a worker while it trained", "", Scope.TRIAL, hardware_dependent=True
)
TOKENS_PER_SECOND = Metric(
    "cost.tokens_per_second", "1/s", _H, "training tokens (padding excluded) a second", "", Scope.TRIAL, hardware_dependent=True
)
TRAINING_FLOPS = Metric(
    "cost.training_flops",
    "flop",
    _L,
    "training operations, estimated from the model's configuration",
    "",
    Scope.TRIAL,
    count=True,
)
ENERGY_JOULES = Metric(
    "cost.energy_joules", "J", _L, "energy while training, as the driver reports it", "", Scope.TRIAL, hardware_dependent=True
)

RATES: Final = (
    ACCURACY,
    ERROR_RATE,
    SELECTION_RATE,
    TRUE_POSITIVE_RATE,
    FALSE_POSITIVE_RATE,
    PRECISION,
    F1,
)
"""Measured over all rows and for each group."""

METRICS: Final[dict[str, Metric]] = {
    metric.key: metric for metric in list(globals().values()) + list(MARGIN_QUANTILES.values()) if isinstance(metric, Metric)
}

CURVE_TRAIN_LOSS: Final = "train.loss"
CURVE_LEARNING_RATE: Final = "train.learning_rate"
CURVE_VALIDATION_LOSS: Final = "train.validation_loss"
CURVE_VALIDATION_ACCURACY: Final = "train.validation_accuracy"
"""The live curve's keys in the tracker. No measures: no objective can name them, and none meets a flat key of the split."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]")


def escape(name: str) -> str:
    """A name in MLflow's alphabet, injectively: every byte but A-Z a-z 0-9 _ - becomes `:hh:`.

    The colon itself is escaped, so two names never meet; the empty name becomes `:`.
    """
    if not name:
        return ":"
    return "".join(chr(byte) if byte < 128 and _PLAIN.match(chr(byte)) else f":{byte:02x}:" for byte in name.encode("utf-8"))


def unescape(text: str) -> str:
    """Inverse of `escape`.

    Raises:
        LfrayError: The escaped bytes are not UTF-8, so `escape` never wrote them.
    """
    if text == ":":
        return ""
    parts = re.split(r":([0-9a-f]{2}):", text)
    try:
        return b"".join(bytes([int(part, 16)]) if index % 2 else part.encode() for index, part in enumerate(parts)).decode(
            "utf-8"
        )
    except UnicodeError as error:
        raise LfrayError(f"metric: escaped names must be UTF-8 (got {text!r}). Write the name plainly") from error


@dataclass(frozen=True)
class MetricKey:
    """A flat key, taken apart."""

    metric: Metric
    split: str = "test"
    attribute: str | None = None
    group: str | None = None
    of_class: str | None = None

    def text(self) -> str:
        """The flat key."""
        prefix = "" if self.split == "test" else f"{self.split}."
        of_class = "" if self.of_class is None else f".class_{escape(self.of_class)}"
        attribute = "" if self.attribute is None else f"/{escape(self.attribute)}"
        group = "" if self.group is None else f"/{escape(self.group)}"
        return f"{prefix}{self.metric.key}{of_class}{attribute}{group}"


def parse_key(text: str) -> MetricKey:
    """Take a flat key apart.

    Raises:
        LfrayError: No such metric; the message offers the nearest.
    """
    head, *rest = text.split("/")
    split = "validation" if head.startswith("validation.") else "test"
    head = head.removeprefix("validation.")
    base, _, of_class = head.partition(".class_")
    if base not in METRICS:
        raise LfrayError(f"metric: must be one that lfray measures (got {text}). {did_you_mean(base, METRICS)}")
    if len(rest) > 2:
        raise LfrayError(f"metric: at most /attribute/group may follow the name (got {text})")
    return MetricKey(
        METRICS[base],
        split,
        unescape(rest[0]) if rest else None,
        unescape(rest[1]) if len(rest) > 1 else None,
        unescape(of_class) if of_class else None,
    )


METHOD_LABELS: Final = ("base", "head", "lora", "full")
"""How the base is adapted: not at all, only the head (rank 0), low-rank, every parameter."""
