from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lfray.record import TrialRecord
from lfray.space.trial import TrialConfig
from lfray.sweep.durations import ASSUMED_CPU_FLOPS, ASSUMED_GPU_FLOPS, durations
from lfray.sweep.need import Need
from tests.unit.records import make_config, make_failure, make_record
from tests.unit.space.world import make_data, make_model

DATA, MODEL = make_data(), make_model()
NEED = Need(1, 2, 0, 1.0)


def config(method: str = "lora", *, data: str = DATA.fingerprint, **fields: Any) -> TrialConfig:
    plain = make_config(method, **fields)
    return plain.model_copy(update={"data": plain.data.model_copy(update={"fingerprint": data})})


def record(seconds: float, method: str = "lora", *, workers: int = 1, device: str = "cpu", **fields: Any) -> TrialRecord:
    made = make_record(config=config(method, **fields))
    assert made.execution is not None
    return replace(made, seconds=seconds, execution=replace(made.execution, world_size=workers, device=device))


def expected(trial: TrialConfig, records: list[TrialRecord], need: Need = NEED) -> tuple[float, str]:
    return durations([(trial, need)], records, MODEL, DATA)[0]


def test_a_trial_takes_what_trials_like_it_took() -> None:
    assert expected(config(), [record(10.0)]) == (10.0, "1 record")
    assert expected(config(), [record(10.0), record(90.0), record(12.0)]) == (12.0, "3 records")
    assert expected(config("base"), [record(3.0, "base")]) == (3.0, "1 record")


def test_epochs_and_rows_kept_scale_it() -> None:
    # 78 training rows, 8 of them of the minority; at 0.25 two stay.
    assert expected(config(train={"epochs": 3.0}), [record(10.0)])[0] == pytest.approx(30.0)
    assert expected(config(ratio=0.25), [record(78.0)])[0] == pytest.approx(72.0)
    assert expected(config(), [record(72.0, ratio=0.25)])[0] == pytest.approx(78.0)


def test_only_trials_like_it_count() -> None:
    others = [
        record(10.0, "full"),
        record(10.0, workers=2),
        record(10.0, device="cuda"),
        record(10.0, data="e" * 16),
        replace(record(10.0), state="FAILED", failure=make_failure()),
        replace(record(10.0), execution=None),
    ]
    assert expected(config(), others)[1] == "assumed"
    assert expected(config(), others, replace(NEED, workers=2)) == (10.0, "1 record")
    assert expected(config(), others, replace(NEED, gpus=0.5)) == (10.0, "1 record")


@pytest.mark.parametrize(("method", "factor"), [("full", 6), ("lora", 4), ("head", 2), ("base", 0)])
def test_without_records_a_rate_is_assumed(method: str, factor: int) -> None:
    # max_tokens is 128, so a row counts 64 tokens; 78 rows train, 22 are scored (2 operations each), 2 cores of one worker.
    flops = (factor * 78 + 2 * 22) * 64 * MODEL.parameters
    seconds, source = expected(config(method), [])
    assert source == "assumed"
    assert seconds == pytest.approx(flops / (2 * ASSUMED_CPU_FLOPS))
    assert expected(config(method), [], Need(4, 2, 0, 1.0))[0] == pytest.approx(seconds / 4)
    assert expected(config(method), [], Need(2, 2, 0.5, 1.0))[0] == pytest.approx(flops / ASSUMED_GPU_FLOPS)
