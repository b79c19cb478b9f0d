from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray import names
from lfray.errors import StorageError
from lfray.record import CurvePoint, Measure, TrialRecord, defined, undefined
from lfray.record_json import measure_from_json, measure_to_json, record_from_json, record_to_json
from tests.unit.records import make_config, make_failure, make_record

MEASURES = (
    defined(names.ACCURACY, 0.1 + 0.2, n=10, n_pos=4, n_neg=6, interval=(0.25, 0.36), interval_kind="wilson"),
    undefined(names.ACCURACY_GAP, "single_group", attribute="a.b/c", options={"covers": ["x"], "left_out": {"y": "below_n_min"}}),
    undefined(names.ECE_POS, "one_class", split="validation", attribute="race", group="日本", interval=(math.nan, 0.5)),
    defined(names.F1, 0.0, of_class="2", n=0),
)
CURVE = (CurvePoint(1, 0.5, math.nan, 1e-4), CurvePoint(2, 1.0, 0.3, 0.0, 0.31, 0.9))


def sample() -> TrialRecord:
    record = make_record(measures=MEASURES)
    return replace(record, curve=CURVE, data={"train_rows_used": 7, "minority_fraction_kept": None, "groups": {"a": 1}})


def through_text(record: TrialRecord) -> TrialRecord:
    return record_from_json(json.loads(json.dumps(record_to_json(record), allow_nan=False)))


def same(one: TrialRecord, other: TrialRecord) -> bool:
    """Equal, where NaN equals NaN."""
    return repr(one) == repr(other)


def test_a_record_comes_back_as_it_was_written() -> None:
    record = sample()
    back = through_text(record)
    assert same(back, record)
    assert back.measures[0] == record.measures[0]
    assert back.measures[0].value == 0.1 + 0.2


def test_how_a_gang_ran_comes_back() -> None:
    record = sample()
    assert record.execution is not None
    execution = replace(
        record.execution, world_size=2, zero_stage=3, offload=("optimizer", "parameters"), hosts=("a", "b"), attention="sdpa",
        out_of_memory_at=(16, 8), restarts=1, gradient_checkpointing=True,
        deepspeed={"zero_optimization": {"reduce_bucket_size": 1000, "leaf_module": {"classes": ["x.Y"]}}},
    )  # fmt: skip
    back = through_text(replace(record, execution=execution))
    assert back.execution == execution


def test_a_record_of_lfray_0_1_0_is_still_read() -> None:
    """It says nothing of gangs: one process, with everything in its memory."""
    older = broken()
    late = ("zero_stage", "offload", "attention", "gradient_checkpointing", "hosts", "out_of_memory_at", "restarts", "deepspeed")
    for field in late:
        del older["execution"][field]
    execution = record_from_json(older).execution
    assert execution is not None
    assert [getattr(execution, field) for field in late] == [0, (), "unknown", False, (), (), 0, {}]


@pytest.mark.parametrize("method", ["base", "head", "lora", "dora", "full"])
def test_every_method_comes_back_with_its_id(method: str) -> None:
    record = make_record(method)
    assert through_text(record).config == record.config
    assert through_text(record).trial_id == record.trial_id


def test_a_failed_record_comes_back() -> None:
    record = replace(make_record(failure=make_failure()), execution=None)
    assert same(through_text(record), record)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.tuples(st.floats(allow_infinity=False), st.floats(allow_infinity=False)),
    st.none() | st.text(max_size=5),
)
def test_a_measure_comes_back_to_the_bit(value: float, interval: tuple[float, float] | None, attribute: str | None) -> None:
    measure = Measure("accuracy", value, attribute=attribute, interval=interval)
    back = measure_from_json(json.loads(json.dumps(measure_to_json(measure), allow_nan=False)))
    assert repr(back) == repr(measure)


def test_an_undefined_value_is_null_with_its_reason_and_empty_fields_are_left_out() -> None:
    written = measure_to_json(undefined(names.ACCURACY, "empty_group"))
    assert written == {
        "key": "accuracy",
        "measure": "accuracy",
        "value": None,
        "split": "test",
        "undefined_reason": "empty_group",
    }


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    record = replace(make_record(), data={"rows": np.int64(3), "share": np.float32(0.5), "kept": np.float64(math.nan)})
    assert record_to_json(record)["data"] == {"rows": 3, "share": 0.5, "kept": None}


def broken(**changes: Any) -> dict[str, Any]:
    return json.loads(json.dumps(record_to_json(sample()))) | changes  # type: ignore[no-any-return]  # json is untyped


def test_a_record_under_a_wrong_id_is_refused() -> None:
    other = make_config(seed=42)
    with pytest.raises(StorageError, match=f"holds trial {'f' * 16}"):
        record_from_json(broken(trial_id="f" * 16))
    with pytest.raises(StorageError, match=f"its configuration is {other.trial_id}"):
        record_from_json(broken(config=other.model_dump(mode="json")))


@pytest.mark.parametrize(
    "raw",
    [
        None, 3, [], "text", {},
        broken(schema_version=2), broken(measures=None), broken(measures=[3]), broken(measures=[{"measure": "accuracy"}]),
        broken(measures=[{"measure": "metric_of_tomorrow", "value": 1.0}]), broken(config={}), broken(config=None),
        broken(curve=[{"step": 1}]), broken(execution={"device": "cpu"}), broken(failure="text"),
        {key: value for key, value in broken().items() if key != "trial_id"},
        {key: value for key, value in broken().items() if key != "seconds"},
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused_by_its_file(raw: Any) -> None:
    with pytest.raises(StorageError, match=r"^here: "):
        record_from_json(raw, source="here")
