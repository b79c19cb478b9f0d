from __future__ import annotations

from typing import Any

import pytest

from lfray.errors import LfrayError
from lfray.space.plan import plan_trials
from lfray.space.trial import LoraMethod, TrialConfig
from tests.unit.space.world import make_data, make_model, make_spec, plan

VERBALIZER = {"head": "verbalizer", "verbalizer": {"answers": {"neg": "bad", "pos": "good"}}}


def lora_of(trial: TrialConfig) -> LoraMethod:
    assert isinstance(trial.method, LoraMethod)
    return trial.method


def ids(trials: tuple[TrialConfig, ...]) -> set[str]:
    return {trial.trial_id for trial in trials}


def test_every_trial_once_full_first_within_a_seed() -> None:
    trials = plan(axes={"rank": [2, 8], "downsampling_ratio": [1.0, 0.5], "seed": [42, 13]})
    assert [trial.label for trial in trials] == [
        f"{method} ratio-{ratio} seed-{seed}"
        for seed in (42, 13)
        for method, ratios in (("full", "1 0.5"), ("lora-r2", "1 0.5"), ("lora-r8", "1 0.5"), ("head", "1 0.5"))
        for ratio in ratios.split()
    ]
    assert len(ids(trials)) == len(trials) == 16


def test_an_axis_that_a_method_lacks_does_not_multiply_its_trials() -> None:
    trials = plan(axes={"rank": [2, 8, 64], "lora.alpha.factor": [1.0, 2.0]})
    counts = {kind: sum(trial.method.kind == kind for trial in trials) for kind in ("head", "lora", "full")}
    assert counts == {"head": 1, "lora": 6, "full": 1}


def test_rank_zero_is_the_method_head() -> None:
    from_rank = plan(methods={"lora": {}}, axes={"rank": [0, 4], "lora.dropout": [0.0, 0.1], "seed": [1, 2]})
    as_method = plan(methods={"head": {}}, axes={"seed": [1, 2]})
    heads = tuple(trial for trial in from_rank if trial.method.kind == "head")
    assert ids(heads) == ids(as_method)
    assert len(from_rank) == 2 * (1 + 2)
    assert {trial.train.learning_rate for trial in heads if trial.train} == {1e-3}


def test_rank_zero_and_head_together_are_one_trial() -> None:
    assert [trial.method_label for trial in plan(methods={"head": {}, "lora": {}}, axes={"rank": [0, 2]})] == ["lora-r2", "head"]


@pytest.mark.parametrize(
    ("alpha", "rank", "expected", "scale"),
    [
        ({}, 8, 16.0, 2.0), ({}, 64, 128.0, 2.0), ({"policy": "proportional", "factor": 0.5}, 8, 4.0, 0.5),
        ({"policy": "constant"}, 8, 16.0, 2.0), ({"policy": "constant"}, 64, 16.0, 0.25),
        ({"policy": "constant", "value": 32.0}, 64, 32.0, 0.5),
        ({"policy": "rslora"}, 64, 16.0, 2.0), ({"policy": "rslora", "value": 8.0}, 16, 8.0, 2.0),
    ],
)  # fmt: skip
def test_alpha_follows_its_policy(alpha: dict[str, Any], rank: int, expected: float, scale: float) -> None:
    (trial,) = plan(methods={"lora": {"alpha": alpha, "rank": rank}})
    assert (lora_of(trial).alpha, lora_of(trial).scale) == (expected, scale)


def test_alpha_may_be_an_axis_by_parts_or_whole() -> None:
    by_parts = plan(methods={"lora": {}}, axes={"lora.alpha.factor": [1.0, 2.0], "rank": [4]})
    assert [lora_of(trial).alpha for trial in by_parts] == [4.0, 8.0]
    whole = plan(methods={"lora": {}}, axes={"alpha": [{"policy": "constant"}, {"policy": "rslora"}], "rank": [4]})
    assert [(lora_of(trial).alpha_policy, lora_of(trial).alpha) for trial in whole] == [("constant", 16.0), ("rslora", 16.0)]


def test_learning_rates_by_method() -> None:
    def rates(**sections: Any) -> dict[str, set[float]]:
        trials = plan(**sections)
        return {k: {t.train.learning_rate for t in trials if t.train and t.method.kind == k} for k in ("head", "lora", "full")}

    assert rates() == {"head": {1e-3}, "lora": {2e-4}, "full": {2e-5}}
    assert rates(train={"learning_rate": 3e-4}) == {"head": {3e-4}, "lora": {3e-4}, "full": {3e-4}}
    assert rates(axes={"learning_rate": [1e-4, 2e-4]}) == {kind: {1e-4, 2e-4} for kind in ("head", "lora", "full")}
    assert rates(axes={"learning_rate.lora": [1e-4, 5e-4]}) == {"head": {1e-3}, "lora": {1e-4, 5e-4}, "full": {2e-5}}
    one_for_all = {"train": {"learning_rate": 3e-4}, "axes": {"learning_rate.full": [1e-6]}}
    assert rates(**one_for_all) == {"head": {3e-4}, "lora": {3e-4}, "full": {1e-6}}


def test_a_method_without_a_rate_is_refused() -> None:
    with pytest.raises(LfrayError, match="needs a rate for full"):
        plan(train={"learning_rate": {"head": 1e-3, "lora": 1e-4}})


def test_the_same_update_cut_otherwise_is_the_same_trial() -> None:
    trials = plan(methods={"full": {}}, axes={"batch_size": [16, 8], "gradient_accumulation": [1, 2]})
    assert sorted(trial.train.effective_batch for trial in trials if trial.train) == [8, 16, 32]


def test_the_untouched_base_has_neither_seed_nor_ratio() -> None:
    (trial,) = plan(
        methods={"base": {}}, base=make_model(trained_head=True), axes={"seed": [1, 2], "downsampling_ratio": [1.0, 0.5]}
    )
    assert (trial.label, trial.seed, trial.downsampling_ratio, trial.train) == ("base", None, None, None)


def test_precision_is_resolved_and_part_of_the_id() -> None:
    spec = make_spec(methods={"full": {}})
    one, other = (plan_trials(spec, make_data(), make_model(), precision=precision) for precision in ("fp32", "bf16"))
    assert [t.train.precision for t in (*one, *other) if t.train] == ["fp32", "bf16"]
    assert ids(one) != ids(other)
    asked = plan(methods={"full": {}}, train={"precision": "bf16"})
    assert ids(asked) == ids(other)


SAME: dict[str, dict[str, Any]] = {
    "name": {"name": "other"},
    "storage": {"storage": "/elsewhere"},
    "resources": {"resources": {"cpus_per_trial": 4, "max_concurrent": 2, "checkpoint_seconds": 5.0}},
    "objectives": {"objectives": ["accuracy", "cost.train_seconds"]},
    "tracking": {"tracking": {"uri": "none"}},
    "keeping": {"keep_adapters": "none", "keep_full_models": True},
    "evaluation batch": {"evaluation": {"batch_size": 7}},
    "base's place": {"model": {"base": "file:/somewhere/else"}},
    "defaults written out": {"train": {"epochs": 3, "schedule": "linear"}, "axes": {"seed": [0], "downsampling_ratio": [1]}},
    "order of methods": {"axes": {"method": ["full", "lora", "head"]}},
}


@pytest.mark.parametrize("change", SAME)
def test_what_cannot_change_a_result_leaves_the_ids(change: str) -> None:
    assert ids(plan(**SAME[change])) == ids(plan())


MOVED: dict[str, dict[str, Any]] = {
    "epochs": {"train": {"epochs": 4}},
    "batch": {"train": {"batch_size": 8}},
    "accumulation": {"train": {"gradient_accumulation": 2}},
    "schedule": {"train": {"schedule": "cosine"}},
    "warm-up": {"train": {"warmup_ratio": 0.1}},
    "decay": {"train": {"weight_decay": 0.01}},
    "clipping": {"train": {"max_grad_norm": None}},
    "betas": {"train": {"adam_betas": [0.9, 0.98]}},
    "epsilon": {"train": {"adam_epsilon": 1e-6}},
    "select": {"train": {"select": "validation_loss"}},
    "rates": {"train": {"learning_rate": 3e-4}},
    "seed": {"axes": {"seed": [1]}},
    "ratio": {"axes": {"downsampling_ratio": [0.5]}},
    "bins": {"evaluation": {"ece_bins": 15}},
    "smallest group": {"data": make_spec().data.model_dump(exclude_unset=True) | {"min_group_rows": 5}},
    "longest text": {"data": make_spec().data.model_dump(exclude_unset=True) | {"max_tokens": 64}},
    "head": {"task": VERBALIZER},
}


@pytest.mark.parametrize("change", MOVED)
def test_what_can_change_a_result_moves_every_id(change: str) -> None:
    assert not ids(plan(**MOVED[change])) & ids(plan())


def test_other_rows_or_another_base_are_other_trials() -> None:
    assert not ids(plan(facts=make_data(fingerprint="e" * 16))) & ids(plan())
    assert not ids(plan(base=make_model(fingerprint="n" * 16))) & ids(plan())
    assert not ids(plan(facts=make_data(classes=("no", "yes")))) & ids(plan())


def test_lora_fields_move_the_ids_of_lora_only() -> None:
    changed = plan(methods={"head": {}, "lora": {"targets": ["query"]}, "full": {}})
    kept = {trial.method.kind for trial in changed if trial.trial_id in ids(plan())}
    assert kept == {"head", "full"}


def test_an_extended_sweep_keeps_every_earlier_trial() -> None:
    axes = {"rank": {"int": [1, 64]}, "seed": [1]}
    before = plan(axes=axes, search={"samples": 3})
    after = plan(axes=axes | {"seed": [1, 2]}, search={"samples": 5})
    assert ids(before) < ids(after)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": {"base": {}}}, "needs a trained head or task.head: verbalizer"),
        ({"objectives": ["fair.accuracy_gap/race"]}, "attribute must be one of community"),
        ({"objectives": ["accuracy/community/third"]}, "group must be one of first, second"),
        ({"task": {"head": "verbalizer", "verbalizer": {"answers": {"neg": "bad", "x": "good"}}}}, "missing pos"),
        (
            {"data": make_spec().data.model_dump(exclude_unset=True) | {"max_tokens": 600}},
            "must not exceed the model's 512 positions",
        ),
        ({"methods": {"lora": {}}, "axes": {"lora.dropout": [1.5]}}, "axes: .*less than 1"),
    ],
)
def test_what_only_data_and_model_show_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(LfrayError, match=message):
        plan(**fields)


def test_objectives_that_the_label_makes_meaningless_are_refused() -> None:
    objectives = ["fair.equalized_odds_difference"]
    with pytest.raises(LfrayError, match="group_is_label"):
        plan(facts=make_data(is_label=True), objectives=objectives)
    with pytest.raises(LfrayError, match=r"with 3 classes name one: fair\.equalized_odds_difference\.class_a"):
        plan(facts=make_data(classes=("a", "b", "c")), objectives=objectives)
    assert plan(facts=make_data(classes=("a", "b", "c")), objectives=["fair.equalized_odds_difference.class_a"])


def test_a_verbalizer_carries_its_answers_in_class_order() -> None:
    task = plan(task=VERBALIZER)[0].task
    assert (task.answers, task.scoring, task.template) == (("bad", "good"), "compare", "{text}\nAnswer:")
    assert plan(task=VERBALIZER, methods={"base": {}})[0].method.kind == "base"
