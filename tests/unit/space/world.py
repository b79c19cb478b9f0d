"""A small sweep, what its data and base would be found to be, and its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lfray.space.facts import AttributeFacts, DataFacts, ModelFacts
from lfray.space.plan import plan_trials
from lfray.spec.sweep import SweepSpec

if TYPE_CHECKING:
    from lfray.space.trial import TrialConfig


def make_spec(**sections: Any) -> SweepSpec:
    """Sections replace those of a sweep over head, lora and full."""
    plain: dict[str, Any] = {
        "version": 1,
        "name": "small",
        "data": {
            "source": "lab:reviews",
            "groups": {"community": {"column": "community", "names": {"a": "first", "b": "second"}}},
        },
        "model": {"base": "hub:someone/model"},
        "methods": {"head": {}, "lora": {}, "full": {}},
    }
    return SweepSpec.model_validate(plain | sections)


def make_data(*, classes: tuple[str, ...] = ("neg", "pos"), is_label: bool = False, fingerprint: str = "d" * 16) -> DataFacts:
    community = AttributeFacts(
        attribute="community", groups=("first", "second"), overlapping=False, is_label=is_label,
        rows={"first": 90, "second": 10}, train_rows={"first": 70, "second": 8},
    )  # fmt: skip
    return DataFacts(
        fingerprint=fingerprint, class_names=classes, positive=1, attributes=(community,), minority_attribute="community",
        minority_group="second", split_rows={"train": 78, "validation": 10, "test": 12}, split_manifests={}, counts={},
        bayes_accuracy={}, mean_characters=40.0,
    )  # fmt: skip


def make_model(*, trained_head: bool = False, fingerprint: str = "m" * 16, max_positions: int | None = 512) -> ModelFacts:
    return ModelFacts(
        fingerprint=fingerprint, folder="/models/m", trained_head=trained_head, parameters=1_000_000, weight_bytes=4_000_000,
        linear_extent=10_000, max_positions=max_positions,
    )  # fmt: skip


def plan(*, facts: DataFacts | None = None, base: ModelFacts | None = None, **sections: Any) -> tuple[TrialConfig, ...]:
    """The trials of the small sweep, some of its sections replaced."""
    return plan_trials(make_spec(**sections), facts or make_data(), base or make_model(), precision="fp32")
