"""`SweepSpec`: one question asked of a cluster, as written, with the pairs of fields that cannot go together refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lfray.names import TRAINABLE_PARAMETERS, WORST_GROUP_ACCURACY
from lfray.spec.rows import DataSpec
from lfray.spec.stages import (
    EvaluationSpec,
    MethodsSpec,
    ModelSpec,
    ResourcesSpec,
    SearchSpec,
    TaskSpec,
    TrackingSpec,
    TrainSpec,
)
from lfray.spec.strict import Items, Name, Refusal, Scalar, Strict


class RangeAxis(Strict):
    """An axis drawn at random; exactly one form."""

    uniform: Items[float] | None = None
    """[low, high): uniform."""
    log_uniform: Items[float] | None = None
    """[low, high): uniform in the logarithm; low > 0."""
    int_: Annotated[Items[int] | None, Field(alias="int")] = None
    """[low, high]: whole numbers, both ends included."""

    @property
    def form(self) -> tuple[str, tuple[float, ...]]:
        """The form's name in the file, and its [low, high]."""
        forms = {"uniform": self.uniform, "log_uniform": self.log_uniform, "int": self.int_}
        return next((name, bounds) for name, bounds in forms.items() if bounds is not None)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = [bounds for bounds in (self.uniform, self.log_uniform, self.int_) if bounds is not None]
        if len(given) != 1:
            raise Refusal(
                "a range has exactly one of uniform, log_uniform, int", remedy="Give one, e.g. {log_uniform: [1e-5, 1e-3]}"
            )
        name, bounds = self.form
        if len(bounds) != 2 or not bounds[0] < bounds[1]:
            raise Refusal("a range must be [low, high] with low < high", at=name, remedy="One value needs no range: write a list")
        if name == "log_uniform" and bounds[0] <= 0:
            raise Refusal(
                "log_uniform needs low over 0", at=name, remedy="The logarithm of 0 is not finite: use uniform, or raise low"
            )
        return self


AxisSpec = Items[Any] | RangeAxis


class SweepSpec(Strict):
    """A sweep file, read and checked."""

    version: Literal[1]
    """Version of this file format."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
    """Letters, digits and . _ - only, a letter or digit first, at most 80: names the folder and the parent run."""
    task: TaskSpec = TaskSpec()
    """What is learned."""
    data: DataSpec
    """Rows, groups and splits."""
    model: ModelSpec
    """The base model."""
    methods: MethodsSpec
    """How the base may be adapted."""
    axes: dict[str, AxisSpec] = Field(default_factory=dict)
    """Name of a dimension -> its values (a list), or a range to draw from."""
    search: SearchSpec | None = None
    """How axes given as ranges are drawn; needed by them."""
    train: TrainSpec = TrainSpec()
    """How a trial trains."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """How predictions become measures."""
    objectives: Annotated[Items[Name], Field(min_length=1, max_length=5)] = (
        WORST_GROUP_ACCURACY.key,
        TRAINABLE_PARAMETERS.key,
    )
    """One to five metrics; each has its good direction in `lfray metrics`. One gives a ranking."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one trial takes of the machines."""
    storage: Name | None = None
    """Folder of records, relative to the sweep file. Default: lfray-runs in the working folder, beside mlflow.db."""
    tracking: TrackingSpec = TrackingSpec()
    """Where runs are logged."""
    keep_adapters: Literal["front", "all", "none"] = "all"
    """Whose trained adapters stay after the sweep."""
    keep_full_models: bool = False
    """Also keep the weights of `full` trials (the size of the base model each)."""


__all__ = ["AxisSpec", "RangeAxis", "Scalar", "SweepSpec"]
