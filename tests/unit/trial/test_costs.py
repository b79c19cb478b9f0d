from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lfray import names
from lfray.engine.meter import Account, Meter
from lfray.model.adapt import Adapted, adapt
from lfray.model.flops import training_flops
from lfray.space.trial import BaseMethod, HeadMethod
from lfray.trial.costs import Costs, cost_measures, gang_costs
from tests.unit.model.tiny import loaded

if TYPE_CHECKING:
    from lfray.record import Measure
    from tests.unit.model.tiny import Bases


def spent(*, train: float = 4.0, evaluation: float = 1.0, peak: float | None = 0.75, energy: float | None = None) -> Costs:
    meter = Meter(torch.device("cpu"))
    meter.seconds = {"train": train, "evaluation": evaluation}
    meter.count_update(1, np.array([100, 200]))
    meter.peak_memory_gib, meter.energy_joules = peak, energy
    return gang_costs([meter.account("n0")])


def by_key(measures: tuple[Measure, ...]) -> dict[str, float | str]:
    return {m.key: m.undefined_reason if m.undefined_reason is not None else m.value for m in measures}


def test_every_cost_is_there_once_and_measured_where_it_can_be(bases: Bases) -> None:
    made = adapt(loaded(bases.bert), HeadMethod())
    measures = cost_measures(spent(energy=12.0), made, kept_bytes=1234, gpus=0.0, trains=True)
    found = by_key(measures)
    assert found == {
        names.TRAINABLE_PARAMETERS.key: 34.0,
        names.TOTAL_PARAMETERS.key: made.total_parameters,
        names.ADAPTER_PARAMETERS.key: 0.0,
        names.ADAPTER_BYTES.key: 1234.0,
        names.TRAIN_SECONDS.key: 4.0,
        names.EVALUATION_SECONDS.key: 1.0,
        names.WORKER_SECONDS.key: 5.0,
        names.GPU_SECONDS.key: "no_gpu",
        names.PEAK_MEMORY_GIB.key: 0.75,
        names.TOKENS_PER_SECOND.key: 75.0,
        names.ENERGY_JOULES.key: 12.0,
        names.TRAINING_FLOPS.key: training_flops(made.model, tokens=300, squared_tokens=50_000, backbone_learns=False),
    }
    assert len(measures) == len(found) == sum(key.startswith("cost.") for key in names.METRICS)
    (flops,) = (m for m in measures if m.key == names.TRAINING_FLOPS.key)
    assert flops.options == {"formula": "matmul+attention"}


def test_seconds_on_a_share_of_a_gpu_count_by_the_share(bases: Bases) -> None:
    made = adapt(loaded(bases.bert), HeadMethod())
    assert by_key(cost_measures(spent(), made, kept_bytes=0, gpus=0.5, trains=True))[names.GPU_SECONDS.key] == 2.5


def test_what_the_machine_cannot_tell_is_undefined_with_its_reason(bases: Bases) -> None:
    found = by_key(cost_measures(spent(peak=None), adapt(loaded(bases.bert), HeadMethod()), kept_bytes=0, gpus=0.0, trains=True))
    assert found[names.ENERGY_JOULES.key] == "no_energy_counter"
    assert found[names.PEAK_MEMORY_GIB.key] == "not_measured"


def test_an_untrained_base_has_costs_of_evaluation_only(bases: Bases) -> None:
    meter = Meter(torch.device("cpu"))
    meter.seconds = {"evaluation": 2.0}
    made = adapt(loaded(bases.bert_trained), BaseMethod())
    found = by_key(cost_measures(gang_costs([meter.account("n0")]), made, kept_bytes=0, gpus=0.0, trains=False))
    assert found[names.TRAINING_FLOPS.key] == found[names.TRAINABLE_PARAMETERS.key] == found[names.TRAIN_SECONDS.key] == 0.0
    assert found[names.WORKER_SECONDS.key] == 2.0
    undefined = {key for key, value in found.items() if value == "no_training"}
    assert undefined == {names.TOKENS_PER_SECOND.key, names.PEAK_MEMORY_GIB.key, names.ENERGY_JOULES.key}


def test_a_model_of_unknown_shape_has_no_estimate() -> None:
    made = Adapted(torch.nn.Linear(2, 2), False, 0, 6, 6, True)
    measures = cost_measures(spent(), made, kept_bytes=0, gpus=0.0, trains=True)
    (flops,) = (m for m in measures if m.key == names.TRAINING_FLOPS.key)
    assert math.isnan(flops.value)
    assert flops.undefined_reason == "unknown_formula"


def account(host: str = "n0", device: str = "cpu", **fields: Any) -> Account:
    plain: dict[str, Any] = {
        "train_seconds": 4.0, "evaluation_seconds": 1.0, "tokens": 300, "squared_tokens": 50_000, "peak_memory_gib": 0.5,
        "energy_joules": 10.0,
    }  # fmt: skip
    return Account(host, device, **(plain | fields))


def test_a_gang_takes_as_long_as_its_slowest_and_pays_for_all() -> None:
    costs = gang_costs([account(train_seconds=4.0), account(train_seconds=6.0, evaluation_seconds=0.5), account("n1")])
    assert (costs.train_seconds, costs.evaluation_seconds) == (6.0, 1.0)
    assert costs.worker_seconds == (4 + 1) + (6 + 0.5) + (4 + 1)
    # Every rank counts the rows of the whole update.
    assert (costs.tokens, costs.squared_tokens) == (300, 50_000)


def test_gpu_seconds_are_summed_over_workers(bases: Bases) -> None:
    made = adapt(loaded(bases.bert), HeadMethod())
    costs = gang_costs([account(device="cuda"), account(device="cuda", train_seconds=6.0)])
    found = by_key(cost_measures(costs, made, kept_bytes=0, gpus=1.0, trains=True))
    assert found[names.GPU_SECONDS.key] == found[names.WORKER_SECONDS.key] == 12.0
    assert found[names.TRAIN_SECONDS.key] == 6.0
    assert found[names.TOKENS_PER_SECOND.key] == 50.0


def test_the_peak_of_a_gang_is_its_largest_workers() -> None:
    assert gang_costs([account(peak_memory_gib=peak) for peak in (0.5, 0.75, 0.25)]).peak_memory_gib == 0.75


def test_a_processors_energy_counts_once_a_machine_and_a_gpus_once_a_worker() -> None:
    pair = [account(energy_joules=10.0), account(energy_joules=11.0)]
    # Both read the counter of one package; the one that ran longer saw more of it.
    assert gang_costs(pair).energy_joules == 11.0
    assert gang_costs([*pair, account("n1", energy_joules=5.0)]).energy_joules == 16.0
    assert gang_costs([account(device="cuda", energy_joules=joules) for joules in (10.0, 11.0)]).energy_joules == 21.0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_one_worker_cannot_tell_is_not_known_of_the_trial(device: str) -> None:
    others = account("n0", device), account("n1", device)
    silent = account("n2", device, peak_memory_gib=None, energy_joules=None)
    costs = gang_costs([*others, silent])
    assert (costs.peak_memory_gib, costs.energy_joules) == (None, None)
    assert gang_costs([silent]).energy_joules is None
    # A neighbour on the same machine has read the same counter.
    beside = gang_costs([account("n2", device), silent]).energy_joules
    assert beside == (10.0 if device == "cpu" else None)
