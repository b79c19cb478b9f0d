"""The plan: every trial of a sweep, resolved and unique, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import ValidationError

from lfray.errors import LfrayError
from lfray.names import parse_key
from lfray.space.axes import assignments, methods_of, put
from lfray.space.trial import (
    BaseMethod,
    DataConfig,
    EvaluationConfig,
    FullMethod,
    HeadMethod,
    LoraMethod,
    ModelConfig,
    TaskConfig,
    TrainConfig,
    TrialConfig,
)
from lfray.spec.axis import resolve_axis
from lfray.spec.stages import LoraMethodSpec, TrainSpec

if TYPE_CHECKING:
    from lfray.space.axes import Assignment
    from lfray.space.facts import DataFacts, ModelFacts
    from lfray.space.trial import Method
    from lfray.spec.stages import TaskSpec
    from lfray.spec.sweep import SweepSpec

DEFAULT_SEED = 0


def plan_trials(
    spec: SweepSpec, data: DataFacts, model: ModelFacts, *, precision: Literal["fp32", "bf16"]
) -> tuple[TrialConfig, ...]:
    """Every trial once, seed by seed, the largest methods first within a seed (they take longest, and the others refer to them).

    Args:
        spec: The checked sweep.
        data: What preparation found.
        model: What the base model is.
        precision: What `precision: auto` means on the machines at hand.

    Raises:
        LfrayError: A pair of fields, visible only now that data and model are known, cannot go together.
    """
    _check_facts(spec, data, model)
    trials: dict[str, tuple[tuple[int, int], TrialConfig]] = {}
    for method in methods_of(spec):
        for assignment in assignments(spec, method):
            trial = _trial(spec, data, model, method, assignment, precision)
            order = (_seed_position(spec, trial.seed), -("base", "head", "lora", "full").index(trial.method.kind))
            trials.setdefault(trial.trial_id, (order, trial))
    return tuple(trial for _, trial in sorted(trials.values(), key=lambda item: item[0]))


def _check_facts(spec: SweepSpec, data: DataFacts, model: ModelFacts) -> None:
    if "base" in methods_of(spec) and spec.task.head == "sequence" and not model.trained_head:
        raise LfrayError(
            "methods.base: the untouched model needs a trained head or task.head: verbalizer "
            f"(got a checkpoint without a classification head: {spec.model.base}). Use the method head"
        )
    known = {facts.attribute: facts for facts in data.attributes}
    for text in spec.objectives:
        key = parse_key(text)
        facts = known.get(key.attribute or data.minority_attribute)
        if facts is None:
            raise LfrayError(f"objectives: {text}: attribute must be one of {', '.join(known)}")
        if facts.is_label and key.metric.label_free_of_group:
            raise LfrayError(
                f"objectives: {text} has no meaning here: the label determines {facts.attribute} (group_is_label). "
                "Use fair.worst_group_accuracy or fair.accuracy_gap"
            )
        if len(data.class_names) > 2 and key.metric.label_free_of_group and key.of_class is None:
            raise LfrayError(
                f"objectives: {text}: with {len(data.class_names)} classes name one: {key.metric.key}.class_{data.class_names[0]}"
            )
        if key.group is not None and key.group not in facts.groups:
            raise LfrayError(f"objectives: {text}: group must be one of {', '.join(facts.groups)}")
    if model.max_positions is not None and spec.data.max_tokens > model.max_positions:
        raise LfrayError(
            f"data.max_tokens: must not exceed the model's {model.max_positions} positions (got {spec.data.max_tokens}). Lower max_tokens"
        )


def _seed_position(spec: SweepSpec, seed: int | None) -> int:
    axis = spec.axes.get("seed")
    return axis.index(seed) if isinstance(axis, tuple) and seed in axis else -1


def _trial(
    spec: SweepSpec, data: DataFacts, model: ModelFacts, method: str, assignment: Assignment, precision: Literal["fp32", "bf16"]
) -> TrialConfig:
    if method == "lora" and assignment.get("rank") == 0:
        method = "head"
    train_tree = spec.train.model_dump()
    lora_tree = (spec.methods.lora or LoraMethodSpec()).model_dump()
    plain: dict[str, Any] = {"seed": DEFAULT_SEED, "downsampling_ratio": 1.0}
    for name, value in assignment.items():
        target = resolve_axis(name)
        assert target is not None, name
        if target.kind == "train":
            train_tree = put(train_tree, target.path, value)
        elif target.kind == "method_field":
            lora_tree = put(lora_tree, target.path, value)
        elif target.kind == "rank":
            lora_tree["rank"] = value
        else:
            plain[target.kind] = value
    try:
        chosen = _method(method, lora_tree)
        train = None if method == "base" else _train(train_tree, method, precision)
    except ValidationError as error:
        first = error.errors()[0]
        raise LfrayError(f"axes: {assignment}: {first['msg']} (at {'.'.join(map(str, first['loc']))})") from error
    return TrialConfig(
        task=_task(spec.task, data),
        data=DataConfig(
            fingerprint=data.fingerprint,
            max_tokens=spec.data.max_tokens,
            min_group_rows=spec.data.min_group_rows,
            minority_attribute=data.minority_attribute,
            minority_group=data.minority_group,
        ),
        model=ModelConfig(fingerprint=model.fingerprint),
        method=chosen,
        train=train,
        evaluation=EvaluationConfig(ece_bins=spec.evaluation.ece_bins),
        downsampling_ratio=None if method == "base" else float(plain["downsampling_ratio"]),
        seed=None if method == "base" else int(plain["seed"]),
    )


def _task(task: TaskSpec, data: DataFacts) -> TaskConfig:
    if task.verbalizer is None:
        return TaskConfig(head=task.head, class_names=data.class_names, positive=data.positive)
    answers = {str(label): answer for label, answer in task.verbalizer.answers.items()}
    missing = [name for name in data.class_names if name not in answers]
    if missing:
        raise LfrayError(f"task.verbalizer.answers: must answer every label (missing {', '.join(missing)}). Add them")
    return TaskConfig(
        head=task.head,
        class_names=data.class_names,
        positive=data.positive,
        template=task.verbalizer.template,
        answers=tuple(answers[name] for name in data.class_names),
        scoring=task.verbalizer.scoring,
    )


def _method(method: str, lora_tree: dict[str, Any]) -> Method:
    match method:
        case "base":
            return BaseMethod()
        case "head":
            return HeadMethod()
        case "full":
            return FullMethod()
        case "lora":
            lora = LoraMethodSpec.model_validate(lora_tree)
            return LoraMethod(
                rank=lora.rank,
                alpha=lora.alpha.resolved(lora.rank),
                alpha_policy=lora.alpha.policy,
                targets=lora.targets,
                dropout=lora.dropout,
                variant=lora.variant,
            )
        case _:
            raise AssertionError(f"methods are checked before they are planned: {method}")


def _train(tree: dict[str, Any], method: str, precision: Literal["fp32", "bf16"]) -> TrainConfig:
    train = TrainSpec.model_validate(tree)
    rates = train.learning_rate
    by_method: dict[str, float] = (
        {str(name): rate for name, rate in rates.items()}
        if isinstance(rates, dict)
        else dict.fromkeys(("head", "lora", "full"), rates)
    )
    if method not in by_method:
        raise LfrayError(f"train.learning_rate: needs a rate for {method} (got {', '.join(by_method)}). Add {method}: <rate>")
    return TrainConfig(
        epochs=float(train.epochs),
        effective_batch=train.batch_size * train.gradient_accumulation,
        learning_rate=float(by_method[method]),
        schedule=train.schedule,
        warmup_ratio=float(train.warmup_ratio),
        weight_decay=float(train.weight_decay),
        max_grad_norm=None if train.max_grad_norm is None else float(train.max_grad_norm),
        adam_betas=cast("tuple[float, float]", tuple(train.adam_betas)),
        adam_epsilon=float(train.adam_epsilon),
        precision=precision if train.precision == "auto" else train.precision,
        select=train.select,
    )
