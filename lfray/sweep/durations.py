"""How long a trial is expected to take: from trials like it that have run, else from a rate that is assumed and said to be."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

from lfray.data.downsample import kept_rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from lfray.record import TrialRecord
    from lfray.space.facts import DataFacts, ModelFacts
    from lfray.space.trial import TrialConfig
    from lfray.sweep.need import Need

ASSUMED_CPU_FLOPS = 30e9
"""Operations a second of one CPU core, fp32, small matrices. A guess of the right size, replaced by the first record."""
ASSUMED_GPU_FLOPS = 40e12
"""Operations a second of one GPU, bf16, at the utilisation of small batches. A guess, as above."""
FLOPS_PER_TOKEN = {"full": 6.0, "lora": 4.0, "head": 2.0, "base": 0.0}
"""Training operations a token and parameter: forward 2; gradients of activations 2; gradients of the weights 2, only where all learn."""
ASSUMED = "assumed"


def durations(
    trials: Sequence[tuple[TrialConfig, Need]], records: Iterable[TrialRecord], model: ModelFacts, data: DataFacts
) -> list[tuple[float, str]]:
    """Expected wall seconds of each trial, and where the number is from: `3 records`, or `assumed`.

    From records: the median over COMPLETED trials of the same method kind, base, prepared data (so the same training rows to choose
    from), token limit, number of workers and kind of device, each scaled linearly to this trial's epochs x rows kept. Set-up and
    evaluation, which do not grow with them, are scaled along: too high for a trial larger than those recorded, too low for a smaller.

    Assumed: (training + 2 x evaluation tokens) x parameters at `ASSUMED_CPU_FLOPS` a core or `ASSUMED_GPU_FLOPS` a GPU, over all
    workers. Rows are not tokenised at planning, so a row counts as max_tokens / 2 tokens; embeddings count as if they multiplied.

    Args:
        trials: (trial, need), as planned.
        records: What the storage holds; any records may come.
        model: The base model in numbers.
        data: The prepared rows in numbers.
    """
    seconds_each: defaultdict[Hashable, list[float]] = defaultdict(list)
    for record in records:
        execution = record.execution
        if record.state == "COMPLETED" and execution is not None and record.config.data.fingerprint == data.fingerprint:
            on_gpu = execution.device.startswith("cuda")
            kind = _kind(record.config, execution.world_size, on_gpu=on_gpu)
            seconds_each[kind].append(record.seconds / _work(record.config, data))
    expected = []
    for trial, need in trials:
        measured = seconds_each.get(_kind(trial, need.workers, on_gpu=need.gpus > 0))
        if measured:
            source = f"{len(measured)} record{'s' if len(measured) > 1 else ''}"
            expected.append((median(measured) * _work(trial, data), source))
        else:
            expected.append((_assumed(trial, need, model, data), ASSUMED))
    return expected


def _kind(trial: TrialConfig, workers: int, *, on_gpu: bool) -> Hashable:
    """Trials of one kind take alike long for alike work."""
    return trial.method.kind, trial.model.fingerprint, trial.data.fingerprint, trial.data.max_tokens, workers, on_gpu


def _work(trial: TrialConfig, data: DataFacts) -> float:
    """Rows that pass in training, epochs included; 1 for `base`, which trains on none."""
    if trial.train is None:
        return 1.0
    ratio = 1.0 if trial.downsampling_ratio is None else trial.downsampling_ratio
    facts = next(attribute for attribute in data.attributes if attribute.attribute == data.minority_attribute)
    minority = facts.train_rows[data.minority_group]
    return trial.train.epochs * (data.split_rows["train"] - minority + kept_rows(ratio, minority))


def _assumed(trial: TrialConfig, need: Need, model: ModelFacts, data: DataFacts) -> float:
    tokens = trial.data.max_tokens / 2
    training = FLOPS_PER_TOKEN[trial.method.kind] * _work(trial, data)
    evaluation = 2.0 * (data.split_rows.get("validation", 0) + data.split_rows.get("test", 0))
    each = need.gpus * ASSUMED_GPU_FLOPS if need.gpus > 0 else need.cpus * ASSUMED_CPU_FLOPS
    return (training + evaluation) * tokens * model.parameters / (each * need.workers)
