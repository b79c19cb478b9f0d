"""The JSON of a front: documented keys, plain types, null where a value is undefined."""

from __future__ import annotations

import json

from lfray.pareto.front import front_of
from tests.unit.records import make_failure, make_record

WORST, SIZE = "fair.worst_group_accuracy", "cost.trainable_parameters"


def test_json_of_a_front() -> None:
    records = [
        make_record("head", ratio=0.2, measures={WORST: 0.6, SIZE: 2.0}),
        make_record("full", seed=42, measures={WORST: "single_group", SIZE: 1e6}),
        make_record("base", failure=make_failure()),
    ]
    front = front_of(records, [WORST, SIZE], where="method != 'lora'")
    document = json.loads(json.dumps(front.to_json(), allow_nan=False))
    assert document["level"] == "trial"
    assert [item["key"] for item in document["objectives"]] == [WORST, SIZE]
    assert [item["better"] for item in document["objectives"]] == ["higher", "lower"]
    assert document["where"] == "method != 'lora'"
    assert document["reference_point"].keys() == {WORST, SIZE}
    assert document["scale"] == {WORST: "raw", SIZE: "log10(1+x)"}
    assert document["hypervolume"] == front.hypervolume
    assert document["hardware_keys"] == ["cpu-test"]
    assert document["knee"] is None

    head, full, base = sorted(document["table"], key=lambda row: ["head", "full", "base"].index(row["method"]))
    assert head["trial_id"] == records[0].trial_id
    assert head["config_id"] == records[0].config.config_id
    assert (head["rank"], head["downsampling_ratio"], head["seed"]) == (0, 0.2, 13)
    assert (head["pareto_rank"], head["on_front"]) == (0, True)
    assert (full["rank"], full[WORST], full["undefined_reason"], full["on_front"]) == (None, None, "single_group", False)
    assert (base["seed"], base["downsampling_ratio"], base["pareto_rank"], base["state"]) == (None, None, None, "FAILED")
    assert {(item["label"], item["reason"]) for item in document["undefined"]} == {
        ("full ratio-1 seed-42", "single_group"), ("base", "trial_failed"),
    }  # fmt: skip
