from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.errors import LfrayError
from lfray.names import METRICS, Better, MetricKey, Scope, escape, parse_key, unescape

MLFLOW_NAME = re.compile(r"[A-Za-z0-9_\-. :/]+")
"""What MLflow accepts as the name of a metric on every system (validate_param_and_metric_name)."""

names = st.text(max_size=8) | st.sampled_from(["", ":", ":2f:", ".", "/", "a/b", "a.b", ".class_x", "validation.", "é", "日本"])


@given(names)
def test_escaping_is_undone_and_uses_plain_characters_only(name: str) -> None:
    escaped = escape(name)
    assert unescape(escaped) == name
    assert re.fullmatch(r"[A-Za-z0-9_:-]+", escaped)


@given(st.lists(names, unique=True, min_size=2, max_size=20))
def test_two_names_never_meet(given_names: list[str]) -> None:
    assert len({escape(name) for name in given_names}) == len(given_names)


def test_plain_names_stay_readable() -> None:
    assert escape("African_American-2") == "African_American-2"
    assert escape("a b/c") == "a:20:b:2f:c"


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(LfrayError, match="must be UTF-8"):
        unescape(":ff:")


addresses = st.just((None, None)) | st.tuples(names, st.none() | names)
keys = st.builds(
    lambda metric, split, address, of_class: MetricKey(METRICS[metric], split, address[0], address[1], of_class),
    st.sampled_from(sorted(METRICS)),
    st.sampled_from(["test", "validation"]),
    addresses,
    st.none() | names,
)


@given(keys)
def test_a_flat_key_is_read_back_whole_and_mlflow_takes_it(key: MetricKey) -> None:
    assert parse_key(key.text()) == key
    assert MLFLOW_NAME.fullmatch(key.text())


@given(st.lists(keys, min_size=2, max_size=20))
def test_two_keys_never_meet(given_keys: list[MetricKey]) -> None:
    assert len({key.text() for key in given_keys}) == len(set(given_keys))


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(LfrayError, match=r"got fair.worst_group_acuracy\).*'fair.worst_group_accuracy'"):
        parse_key("fair.worst_group_acuracy")


def test_a_key_has_at_most_attribute_and_group() -> None:
    with pytest.raises(LfrayError, match="at most /attribute/group"):
        parse_key("accuracy/a/b/c")


def test_a_name_written_by_a_person_needs_no_escaping() -> None:
    key = parse_key("accuracy/race/African American")
    assert (key.attribute, key.group) == ("race", "African American")


def test_every_metric_has_unit_meaning_and_direction() -> None:
    for key, metric in METRICS.items():
        assert key == metric.key
        assert metric.unit
        assert metric.meaning
        # A dot before `class_`, a slash or the prefix of a split inside a key would make flat keys ambiguous.
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)?", key)
        assert ".class_" not in key
        assert not key.startswith("validation.")


def test_costs_are_of_the_trial_and_measured_ones_depend_on_the_machine() -> None:
    costs = {key: metric for key, metric in METRICS.items() if key.startswith("cost.")}
    assert {metric.scope for metric in costs.values()} == {Scope.TRIAL}
    assert {metric.better for metric in costs.values()} <= {Better.LOWER, Better.HIGHER}
    counted = {"trainable_parameters", "total_parameters", "adapter_parameters", "adapter_bytes", "training_flops"}
    assert {key for key, metric in costs.items() if not metric.hardware_dependent} == {f"cost.{name}" for name in counted}
