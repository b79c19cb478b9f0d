from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from lfray import names
from lfray.engine.meter import Meter
from lfray.model.adapt import Adapted, adapt
from lfray.model.flops import training_flops
from lfray.space.trial import BaseMethod, HeadMethod
from lfray.trial.costs import cost_measures
from tests.unit.model.tiny import loaded

if TYPE_CHECKING:
    from lfray.record import Measure
    from tests.unit.model.tiny import Bases


def spent(*, train: float = 4.0, evaluation: float = 1.0, peak: float | None = 0.75, energy: float | None = None) -> Meter:
    meter = Meter(torch.device("cpu"))
    meter.seconds = {"train": train, "evaluation": evaluation}
    meter.count_tokens(np.array([100, 200]))
    meter.peak_memory_gib, meter.energy_joules = peak, energy
    return meter


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
    found = by_key(cost_measures(meter, made, kept_bytes=0, gpus=0.0, trains=False))
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
