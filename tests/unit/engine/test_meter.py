from __future__ import annotations

import gc
import time

import numpy as np
import pytest
import torch

from lfray.engine.meter import GIB, Meter, hardware_key, read_peak_memory_gib, reset_peak_memory

CPU = torch.device("cpu")
MEGABYTES_200 = 200 * 2**20


def peak() -> float:
    found = read_peak_memory_gib(CPU)
    if found is None:
        pytest.skip("the kernel reports no peak memory")
    return found


def use_200_megabytes() -> None:
    block = np.ones(MEGABYTES_200, dtype=np.uint8)
    assert int(block[::4096].sum()) > 0
    del block
    gc.collect()


def test_a_peak_is_seen_and_starts_anew() -> None:
    reset_peak_memory(CPU)
    before = peak()
    use_200_megabytes()
    assert peak() - before == pytest.approx(MEGABYTES_200 / GIB, abs=0.02)
    reset_peak_memory(CPU)
    assert peak() - before < 0.02


def test_a_watch_measures_what_happens_inside_it() -> None:
    peak()
    meters = [Meter(CPU), Meter(CPU), Meter(CPU)]
    use_200_megabytes()
    with meters[0].watch():
        pass
    with meters[1].watch():
        use_200_megabytes()
    with meters[2].watch():
        pass
    idle, busy, again = (meter.peak_memory_gib or 0.0 for meter in meters)
    assert busy - idle == pytest.approx(MEGABYTES_200 / GIB, abs=0.02)
    # Warm as cold: what an earlier trial of the worker took is not carried over.
    assert again == pytest.approx(idle, rel=0.05)


def test_a_watch_measures_even_when_training_fails() -> None:
    peak()
    meter = Meter(CPU)
    with pytest.raises(ArithmeticError), meter.watch():
        raise ArithmeticError
    assert meter.peak_memory_gib is not None


def test_seconds_add_up_by_stage() -> None:
    meter, start = Meter(CPU), time.perf_counter()
    for _ in range(3):
        with meter.stage("train"):
            sum(range(10_000))
    with pytest.raises(ValueError, match="inside"), meter.stage("evaluation"):
        raise ValueError("inside")
    assert meter.seconds.keys() == {"train", "evaluation"}
    assert 0 < meter.seconds["evaluation"] + meter.seconds["train"] <= time.perf_counter() - start
    assert meter.seconds["train"] > 0


def test_tokens_and_their_squares_add_up() -> None:
    meter = Meter(CPU)
    meter.count_update(1, np.array([3, 4]))
    meter.count_update(1, np.array([5]))
    assert (meter.tokens, meter.squared_tokens) == (12, 50)


def test_what_was_spent_is_carried_into_the_next_process() -> None:
    first, second = Meter(CPU), Meter(CPU)
    with first.watch(), first.stage("train"):
        first.count_update(1, np.array([3, 4]))
        spent = first.spent()
    assert 0 < spent["train_seconds"] <= first.seconds["train"]
    with second.watch(), second.stage("train"):
        second.carry(spent | {"peak_memory_gib": 1e6})
        second.count_update(1, np.array([5]))
    assert (second.tokens, second.squared_tokens) == (12, 50)
    assert second.seconds["train"] > spent["train_seconds"]
    if read_peak_memory_gib(CPU) is not None:
        assert second.peak_memory_gib == 1e6


def test_nothing_spent_carries_nothing() -> None:
    meter = Meter(CPU)
    meter.carry({})
    assert (meter.tokens, meter.seconds) == (0, {})


def test_evaluation_is_not_spent_on_training() -> None:
    meter = Meter(CPU)
    with meter.stage("evaluation"):
        assert meter.spent()["train_seconds"] == 0.0


def test_the_hardware_key_names_processor_and_threads() -> None:
    assert hardware_key(CPU, 2).startswith("cpu:")
    assert hardware_key(CPU, 2).endswith(":threads-2")
    assert hardware_key(CPU, 2) != hardware_key(CPU, 4)
