"""A small sweep for the report's tests: methods, ratios and seeds, one undefined and one failed trial."""

from __future__ import annotations

from lfray.names import ACCURACY, HARMFUL_BIAS_GAP
from lfray.record import Derived, TrialRecord, defined
from lfray.report.context import ReportContext
from tests.unit.records import make_failure, make_measure, make_record

WORST, SIZE, SECONDS = "fair.worst_group_accuracy", "cost.trainable_parameters", "cost.train_seconds"
OBJECTIVES = [WORST, SIZE]

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x>|`*_[a](http://evil.example)$x_$"


def trial(method: str, rank: int, ratio: float, seed: int, *, minority: str = "negative") -> TrialRecord:
    """A completed trial: the majority at .9 - seed/1000, the minority lower by .1 / ratio."""
    high = 0.9 - 0.001 * seed
    low = high - 0.1 / ratio - 0.02 / (1 + rank)
    covers = {"covers": [minority, "positive"]}
    return make_record(
        method,
        rank,
        ratio=ratio,
        seed=seed,
        measures=[
            defined(ACCURACY, low, attribute="sentiment", group=minority, n=40),
            defined(ACCURACY, high, attribute="sentiment", group="positive", n=60),
            make_measure(WORST, low, options=covers),
            make_measure("fair.accuracy_gap", high - low, options=covers | {"noise_floor": 0.04}),
            make_measure("fair.equalized_odds_difference", "group_is_label"),
            make_measure(SIZE, 100.0 + 1000.0 * rank),
            make_measure(SECONDS, 1.0 + rank + 0.1 * seed),
        ],
    )


def small_sweep(minority: str = "negative") -> list[TrialRecord]:
    """Two methods (head, lora of three ranks), two ratios, two seeds; one trial undefined, one failed."""
    records = [
        trial(method, rank, ratio, seed, minority=minority)
        for method, rank in (("head", 0), ("lora", 2), ("lora", 8), ("lora", 64))
        for ratio in (1.0, 0.5)
        for seed in (13, 42)
    ]
    records.append(make_record("dora", 4, measures={WORST: "single_group", SIZE: 500.0}))
    records.append(make_record("full", failure=make_failure("loss is <NaN> at step 7\nsecond line")))
    return records


def small_context(minority: str = "negative") -> ReportContext:
    return ReportContext(
        name="small",
        spec_yaml="version: 1\nname: small\n",
        created_at="2026-01-01T00:00:00Z",
        attribute="sentiment",
        minority_group=minority,
        bayes_accuracy={minority: 0.95, "positive": 0.97},
    )


def bias_gaps(records: list[TrialRecord], group: str = "negative") -> list[Derived]:
    """A harmful bias gap of .01 times the rank for every LoRA trial."""
    return [
        Derived(
            record.trial_id,
            ("full",),
            defined(HARMFUL_BIAS_GAP, 0.01 * (record.config.rank or 0), attribute="sentiment", group=group),
            "harmful_bias_gap",
        )
        for record in records
        if record.config.method_label.startswith("lora")
    ]
