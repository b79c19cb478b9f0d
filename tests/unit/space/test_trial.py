from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lfray.fingerprint import fingerprint
from lfray.space.trial import LoraMethod, TrialConfig
from tests.unit.records import make_config


def test_an_id_is_the_hash_of_every_field() -> None:
    config = make_config()
    assert config.trial_id == fingerprint(config.model_dump(mode="json"))
    assert TrialConfig.model_validate_json(config.model_dump_json()).trial_id == config.trial_id


GOLDEN = {"base": "4a57c5550188ef5f", "head": "2f498ab42cf7cdc9", "lora": "ab94fa4eab17f910", "full": "7be86e469034e37a"}
"""Frozen: another id for the same trial would make every stored record stand for nothing. CODE_SCHEMA moves them all."""


@pytest.mark.parametrize("method", GOLDEN)
def test_ids_are_what_they_always_were(method: str) -> None:
    assert make_config(method).trial_id == GOLDEN[method]


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict):
        return [leaf for key, below in value.items() for leaf in leaves(below, (*path, key))]
    return [path]


def changed(plain: dict[str, Any], path: tuple[str, ...]) -> TrialConfig:
    """The configuration with one leaf moved to another allowed value."""
    other = {
        "head": "verbalizer", "template": "{text}?", "answers": ["no", "yes"], "scoring": "compare", "alpha_policy": "rslora",
        "variant": "dora", "targets": ["query"], "schedule": "cosine", "precision": "bf16", "select": "validation_loss",
        "max_grad_norm": None, "adam_betas": [0.8, 0.999], "class_names": ["positive", "negative"],
    }  # fmt: skip
    tree: dict[str, Any] = TrialConfig.model_validate(plain).model_dump(mode="json")
    node = tree
    for key in path[:-1]:
        node = node[key]
    old, leaf = node[path[-1]], path[-1]
    node[leaf] = other[leaf] if leaf in other else f"{old}x" if isinstance(old, str) else old + 1
    assert node[leaf] != old
    return TrialConfig.model_validate(tree)


PLAIN = make_config().model_dump(mode="json")
FIXED = {("task", "kind"), ("method", "kind")}


@pytest.mark.parametrize("path", [path for path in leaves(PLAIN) if path not in FIXED], ids=".".join)
def test_every_field_moves_the_id(path: tuple[str, ...]) -> None:
    before, after = TrialConfig.model_validate(PLAIN), changed(PLAIN, path)
    assert after.trial_id != before.trial_id
    assert (after.config_id == before.config_id) == (path == ("seed",))


@pytest.mark.parametrize(
    ("method", "rank", "label", "shown_rank"),
    [
        ("lora", 8, "lora-r8 ratio-0.2 seed-13", 8), ("dora", 2, "dora-r2 ratio-0.2 seed-13", 2),
        ("head", 8, "head ratio-0.2 seed-13", 0), ("full", 8, "full ratio-0.2 seed-13", None), ("base", 8, "base", None),
    ],
)  # fmt: skip
def test_a_trial_has_a_readable_name(method: str, rank: int, label: str, shown_rank: int | None) -> None:
    config = make_config(method, rank, ratio=0.2)
    assert (config.label, config.rank) == (label, shown_rank)


@pytest.mark.parametrize(("policy", "scale"), [("constant", 16 / 4), ("proportional", 16 / 4), ("rslora", 16 / 2)])
def test_the_scale_of_an_update(policy: Any, scale: float) -> None:
    method = LoraMethod(rank=4, alpha=16.0, alpha_policy=policy, targets="all-linear", dropout=0.0, variant="lora")
    assert method.scale == scale


def test_a_trial_is_closed_and_frozen() -> None:
    config = make_config()
    with pytest.raises(ValidationError):
        TrialConfig.model_validate(PLAIN | {"host": "node-1"})
    with pytest.raises(ValidationError):
        config.seed = 14  # type: ignore[misc]


def test_a_four_bit_variant_has_its_own_label_and_id() -> None:
    plain = make_config("lora", 8)
    assert isinstance(plain.method, LoraMethod)
    four_bit = plain.model_copy(update={"method": plain.method.model_copy(update={"variant": "qlora"})})
    assert isinstance(four_bit.method, LoraMethod)
    assert (four_bit.method_label, four_bit.rank, four_bit.method.quantized, plain.method.quantized) == (
        "qlora-r8",
        8,
        True,
        False,
    )
    assert TrialConfig.model_validate_json(four_bit.model_dump_json()).trial_id != plain.trial_id
