"""The parts of a sweep file, one model a stage of the pipeline; the tree of models is the tree of the file.

Every model is closed (an unknown key is refused), strict (text is not a number) and frozen. What a field means, its unit and
why its default is what it is stands under the field, and reaches the JSON schema from there, so editors show it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lfray.errors import did_you_mean
from lfray.spec.resources import MethodResourcesSpec, ResourcesSpec
from lfray.spec.rows import ColumnsSpec, DataSpec, GroupSpec, LimitSpec, MinoritySpec, SplitsSpec
from lfray.spec.strict import Fraction, Items, Name, Positive, Rate, Refusal, Scalar, Strict

DEFAULT_ALPHA_FACTOR = 2.0
"""alpha / r of the policy proportional."""
DEFAULT_ALPHA_VALUE = 16.0
"""alpha of the policies constant and rslora."""
_RATES: dict[Literal["head", "lora", "full"], float] = {"head": 1e-3, "lora": 2e-4, "full": 2e-5}


class VerbalizerSpec(Strict):
    """How a label is asked for and named when it is generated."""

    template: str = "{text}\nAnswer:"
    """Prompt; `{text}` (and `{text_pair}`) stand for the row's columns."""
    answers: dict[str | int, str] = Field(min_length=2)
    """Label -> the text that the model should answer with; at least two, all different, none the start of another."""
    scoring: Literal["compare", "generate"] = "compare"
    """compare: the answer of highest likelihood wins. generate: the greedy answer must be one of them, else it is an error."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if "{text}" not in self.template:
            raise Refusal(
                "must hold {text}", at="template", remedy="{text} stands for the row's text, {text_pair} for its second"
            )
        for word in re.findall(r"\{(\w+)\}", self.template):
            if word not in ("text", "text_pair"):
                raise Refusal(
                    "may hold {text} and {text_pair} only", at="template", got=f"{{{word}}}", remedy="Remove the braces"
                )
        answers = {label: answer.strip() for label, answer in self.answers.items()}
        for label, answer in answers.items():
            if not answer:
                raise Refusal(
                    "an answer must not be empty", at=f"answers.{label}", remedy="Give the word the model should answer with"
                )
            longer = [other for key, other in answers.items() if key != label and other.startswith(answer)]
            if longer:
                raise Refusal(
                    "no answer may be the start of another", at=f"answers.{label}", got=f"{answer!r} and {longer[0]!r}",
                    remedy="The model's answer must tell them apart: choose other words",
                )  # fmt: skip
        return self


class TaskSpec(Strict):
    """What is learned."""

    kind: Literal["classification"] = "classification"
    """Each row has one label."""
    head: Literal["sequence", "verbalizer"] = "sequence"
    """sequence: a classification head. verbalizer: a causal model generates the label and answer tokens are compared."""
    labels: Items[str | int] | None = None
    """Every label, in class order. Default: the labels that occur, sorted."""
    positive: str | int | None = None
    """The label that counts as positive where there are two. Default: the second."""
    verbalizer: VerbalizerSpec | None = None
    """How a label is asked for; needed by head: verbalizer."""

    @model_validator(mode="after")
    def _verbalizer(self) -> Self:
        if self.head == "verbalizer" and self.verbalizer is None:
            raise Refusal(
                "head: verbalizer needs verbalizer.answers", at="head", remedy="Add verbalizer: {answers: {<label>: <text>, ...}}"
            )
        if self.head == "sequence" and self.verbalizer is not None:
            raise Refusal(
                "verbalizer applies to head: verbalizer only", at="verbalizer", got="head: sequence", remedy="Set the head"
            )
        return self

    @model_validator(mode="after")
    def _labels(self) -> Self:
        if self.labels is not None and len(set(self.labels)) < max(2, len(self.labels)):
            raise Refusal("must be two or more different labels", at="labels", remedy="Leave it out for the labels that occur")
        answers = None if self.verbalizer is None else tuple(self.verbalizer.answers)
        if self.labels is not None and answers is not None and set(self.labels) != set(answers):
            raise Refusal(
                "must answer every label, and no other", at="verbalizer.answers", got=", ".join(map(str, answers)),
                remedy=f"labels are {', '.join(map(str, self.labels))}",
            )  # fmt: skip
        known = self.labels if self.labels is not None else answers
        if known is not None and self.positive is not None and self.positive not in known:
            raise Refusal("must be one of the labels", at="positive", remedy=did_you_mean(str(self.positive), map(str, known)))
        return self


class ModelSpec(Strict):
    """The base model."""

    base: Name
    """hub:<id> | file:<local folder> | lab:<name>"""
    revision: Name = "main"
    """Branch, tag or commit of a `hub:` base."""
    trust_remote_code: bool = False
    """Off: a model that brings its own code is refused, because that code would run on every worker."""
    options: dict[str, Scalar] = Field(default_factory=dict)
    """Parameters of a `lab:` base."""

    @model_validator(mode="after")
    def _scheme(self) -> Self:
        scheme, _, rest = self.base.partition(":")
        if scheme not in ("hub", "file", "lab") or not rest:
            raise Refusal("must be hub:<id>, file:<folder> or lab:<name>", at="base", remedy=f"For the Hub: hub:{self.base}")
        if scheme == "hub" and "@" in rest:
            raise Refusal("a base's revision stands in model.revision", at="base", remedy=f"revision: {rest.partition('@')[2]}")
        if self.options and scheme != "lab":
            raise Refusal("options applies to lab: bases only", at="options", remedy="Remove it")
        return self


class AlphaSpec(Strict):
    """LoRA's alpha as a function of the rank r. A fixed alpha confounds rank with the scale of the update, alpha/r."""

    policy: Literal["constant", "proportional", "rslora"] = "proportional"
    """constant: alpha = value, scale value/r. proportional: alpha = factor x r, scale factor. rslora: scale value/sqrt(r)."""
    factor: Annotated[float, Field(gt=0)] | None = None
    """proportional only; default 2: the scale of the update stays the same while the rank is swept."""
    value: Annotated[float, Field(gt=0)] | None = None
    """constant and rslora; default 16, as in both papers' tooling."""

    @model_validator(mode="after")
    def _fields(self) -> Self:
        if self.policy == "proportional" and self.value is not None:
            raise Refusal("value applies to the policies constant and rslora", at="value", remedy="proportional takes factor")
        if self.policy != "proportional" and self.factor is not None:
            raise Refusal("factor applies to the policy proportional", at="factor", remedy=f"{self.policy} takes value")
        return self

    def resolved(self, rank: int) -> float:
        """Alpha at a rank."""
        if self.policy == "proportional":
            return (DEFAULT_ALPHA_FACTOR if self.factor is None else self.factor) * rank
        return DEFAULT_ALPHA_VALUE if self.value is None else self.value


class BaseMethodSpec(Strict):
    """The untouched model, evaluated and never trained."""


class HeadMethodSpec(Strict):
    """Rank 0: only the head learns."""


class LoraMethodSpec(Strict):
    """Low-rank adaptation."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Used where `axes` has no rank."""
    alpha: AlphaSpec = AlphaSpec()
    """LoRA's alpha, as a function of the rank."""
    targets: Name | Annotated[Items[Name], Field(min_length=1)] = "all-linear"
    """all-linear, or names of linear modules (`query`, `c_attn`, ...). A name that matches nothing is refused."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that is dropped while training."""
    variant: Literal["lora", "dora", "qlora"] = "lora"
    """dora: the direction is adapted in low rank, the magnitude in full (arXiv 2402.09353). qlora: the base is held in 4 bits
    (arXiv 2305.14314); needs bitsandbytes and GPUs."""


class FullMethodSpec(Strict):
    """Every parameter learns: the reference that the others are compared with."""


class MethodsSpec(Strict):
    """The methods that a sweep may use; `axes.method` picks from them."""

    base: BaseMethodSpec | None = None
    """The untouched model."""
    head: HeadMethodSpec | None = None
    """Rank 0: only the head learns."""
    lora: LoraMethodSpec | None = None
    """Low-rank adaptation."""
    full: FullMethodSpec | None = None
    """Every parameter learns."""

    @property
    def declared(self) -> tuple[str, ...]:
        """Names of the methods that the file declares, in the order of increasing capacity."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)


class TrainSpec(Strict):
    """How a trial trains. Any field may be an axis."""

    epochs: Annotated[float, Field(gt=0, le=10_000)] = 3
    """Passes over the training rows that are kept."""
    batch_size: Positive = 16
    """Rows in one forward pass; one update takes batch_size x gradient_accumulation rows."""
    gradient_accumulation: Positive = 1
    """Forward passes to one update."""
    learning_rate: Rate | Annotated[dict[Literal["head", "lora", "full"], Rate], Field(min_length=1)] = _RATES
    """One number, or one a method: LoRA wants about ten times the rate of full fine-tuning (arXiv 2405.09673)."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate over the updates, after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the updates over which the rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decay, decoupled from the gradient."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradient norm at which an update is clipped; null: never."""
    adam_betas: Annotated[Items[Fraction], Field(min_length=2, max_length=2)] = (0.9, 0.999)
    """AdamW's two decay rates."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's epsilon."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a GPU that has it, else fp32; resolved when the sweep is planned. Evaluation is fp32 always."""
    select: Literal["last", "validation_loss", "validation_accuracy"] = "last"
    """Which epoch's weights are kept. Only validation rows are looked at, never test rows."""


class EvaluationSpec(Strict):
    """How predictions are turned into measures."""

    batch_size: Positive = 64
    """Rows in one forward pass; does not change the result."""
    ece_bins: Annotated[int, Field(ge=2, le=1000)] = 10
    """Equal-width bins; 10 keeps groups of a few hundred rows readable."""


class SearchSpec(Strict):
    """How axes given as ranges are drawn; list axes are always crossed in full."""

    samples: Positive
    """Draws; each is crossed with the list axes. Raising it later keeps the first draws."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draws."""


class TrackingSpec(Strict):
    """Where runs are logged."""

    uri: Name = "auto"
    """auto: sqlite:///mlflow.db in the working folder, which a bare `mlflow ui` shows. none: no tracking."""
    experiment: Name | None = None
    """Default: the sweep's name."""
    log_predictions: bool = True
    """Copy each trial's predictions table to the tracker."""
    log_adapters: bool = True
    """Copy each trial's adapter to the tracker."""


__all__ = [
    "AlphaSpec", "BaseMethodSpec", "ColumnsSpec", "DataSpec", "EvaluationSpec", "FullMethodSpec", "GroupSpec", "HeadMethodSpec",
    "Items", "LimitSpec", "LoraMethodSpec", "MethodResourcesSpec", "MethodsSpec", "MinoritySpec", "ModelSpec", "Name", "ResourcesSpec",
    "Scalar", "SearchSpec", "SplitsSpec", "Strict", "TaskSpec", "TrackingSpec", "TrainSpec", "VerbalizerSpec",
]  # fmt: skip
