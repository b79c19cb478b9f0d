"""What a trial costs beside its training and evaluation, from lfray's own records: cold (a worker's first trial) and warm.

    python -m benchmarks.overhead STORAGE

Two readings, because neither says all. *Inside*: `record.seconds` less training and evaluation: what a trial does itself (model,
adapter, measures, files); a worker's imports come before its first trial and are not in it. *All in*: the worker-seconds of
the whole command that neither trained nor evaluated, spread over the trials: imports, Ray, data, MLflow, report, idle ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrialSeconds:
    """One trial's seconds."""

    wall: float
    train: float
    evaluation: float
    warm: bool

    @property
    def inside(self) -> float:
        """Seconds of the trial that neither trained nor evaluated."""
        return self.wall - self.train - self.evaluation


def lfray_records(storage: Path) -> list[dict[str, Any]]:
    """Every record.json of a storage, as its JSON object."""
    return [json.loads(path.read_text()) for path in sorted((storage / "trials").glob("*/record.json"))]


def metrics_of(record: dict[str, Any]) -> dict[str, float]:
    """Flat key -> value of a record, undefined values left out."""
    return {measure["key"]: measure["value"] for measure in record["measures"] if measure["value"] is not None}


def seconds_of(record: dict[str, Any]) -> TrialSeconds:
    """The seconds of a completed record."""
    values = metrics_of(record)
    return TrialSeconds(
        record["seconds"], values["cost.train_seconds"], values["cost.evaluation_seconds"], bool(record["execution"]["warm"])
    )


def median_inside(trials: list[TrialSeconds], *, warm: bool) -> float:
    """Median of `inside` over the cold or the warm trials; NaN where there are none."""
    found = [trial.inside for trial in trials if trial.warm is warm]
    return statistics.median(found) if found else float("nan")


def all_in(makespan: float, trials: list[TrialSeconds], *, workers: int) -> float:
    """Worker-seconds a trial that neither trained nor evaluated: (workers x makespan - sum of both) / trials."""
    return (workers * makespan - sum(trial.train + trial.evaluation for trial in trials)) / len(trials)


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead a trial, from the records of a storage.")
    parser.add_argument("storage", type=Path)
    given = parser.parse_args()
    trials = [seconds_of(record) for record in lfray_records(given.storage) if record["state"] == "COMPLETED"]
    if not trials:
        raise SystemExit(f"{given.storage}: must hold completed trials (got none). Give the folder that `lfray run` names")
    for warm in (False, True):
        count = sum(trial.warm is warm for trial in trials)
        print(f"{'warm' if warm else 'cold'}: {median_inside(trials, warm=warm):.2f} s a trial, median of {count}")


if __name__ == "__main__":
    main()
