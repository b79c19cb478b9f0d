"""What needs more than one trial: gaps to full fine-tuning, the front, the report. Written to `analysis/`, computed anew at will.

A record is never filled in later: a value that needs another trial is `Derived`, with the ids it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.errors import LfrayError, did_you_mean
from lfray.evaluation.bias_gap import harmful_bias_gap
from lfray.evaluation.settings import MeasureSettings
from lfray.known import places
from lfray.names import HARMFUL_BIAS_GAP, HARMFUL_BIAS_GAP_ABSOLUTE
from lfray.pareto.front import Front, front_of
from lfray.record import Derived, Measure, TrialRecord, read_predictions, undefined
from lfray.record_json import measure_to_json
from lfray.report.page import ReportContext, write_report
from lfray.storage import Storage, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lfray.pareto.objective import Objective
    from lfray.space.facts import DataFacts


@dataclass(frozen=True, eq=False)
class Analysis:
    """A sweep's front and the files that were written of it."""

    front: Front
    derived: tuple[Derived, ...]
    files: tuple[Path, ...]

    @property
    def page(self) -> Path:
        """The HTML page."""
        return next(path for path in self.files if path.suffix == ".html")

    @property
    def front_ids(self) -> frozenset[str]:
        """Trials on the front."""
        return frozenset(self.front.trials["trial_id"].tolist())


def find_sweep(name: str, storage: Storage) -> Storage:
    """The storage that holds the sweep: the given one, else where this user ran it last.

    Raises:
        LfrayError: Nobody knows it; the message offers the nearest name.
    """
    if storage.read_json(name, "plan.json") is not None:
        return storage
    known = places(name)
    if known:
        return Storage(known[0])
    raise LfrayError(
        f"sweep: no sweep {name!r} in {storage.root}. {did_you_mean(name, storage.sweeps())} "
        "Name its storage with --storage or LFRAY_STORAGE"
    )


def sweep_records(storage: Storage, name: str) -> list[TrialRecord]:
    """The sweep's records, in the order of its plan; trials that did not end yet are left out."""
    planned = storage.read_json(name, "plan.json") or {"trials": []}
    return list(storage.read_records([trial["trial_id"] for trial in planned["trials"]]))


def sweep_front(
    storage: Storage, name: str, objectives: Sequence[str | Objective] | None = None, *, where: str | None = None
) -> Front:
    """The front of a sweep's records, by its own objectives unless others are given."""
    planned = storage.read_json(name, "plan.json") or {}
    records = sweep_records(storage, name)
    if not records:
        raise LfrayError(f"front: {name} has no recorded trial yet. Run it: lfray run <sweep file>")
    return front_of(records, objectives or planned["objectives"], derived=derive(storage, records), where=where)


def derive(storage: Storage, records: Sequence[TrialRecord]) -> tuple[Derived, ...]:
    """Harmful bias gap of every trained trial against the full fine-tuning trial of the same ratio and seed.

    Where several full trials share them (their learning rate is an axis, say), the one whose other training fields equal the
    trial's is taken; if that does not settle it the gap is undefined, and says so.
    """
    done = [record for record in records if record.state == "COMPLETED"]
    full = [record for record in done if record.config.method.kind == "full"]
    if not full:
        return ()
    found: list[Derived] = []
    for record in done:
        if record.config.train is None or record.config.method.kind == "full":
            continue
        reference = _reference(record, full)
        if not isinstance(reference, str) and not all(_table(storage, r).exists() for r in (record, reference)):
            reference = "not_measured"  # their predictions were removed by `lfray gc --predictions`
        if isinstance(reference, str):
            found += [Derived(record.trial_id, (), measure, "harmful_bias_gap") for measure in _undefined_gap(record, reference)]
            continue
        tables = [read_predictions(_table(storage, r)) for r in (record, reference)]
        for measure in harmful_bias_gap(tables[0], tables[1], _settings(record)):
            found.append(Derived(record.trial_id, (reference.trial_id,), measure, "harmful_bias_gap"))
    return tuple(found)


def _table(storage: Storage, record: TrialRecord) -> Path:
    return storage.trial_folder(record.trial_id) / "predictions.parquet"


def _reference(record: TrialRecord, full: Sequence[TrialRecord]) -> TrialRecord | str:
    """The full trial to compare with, or the reason why there is none."""

    def same(other: TrialRecord, *, strict: bool) -> bool:
        ours, theirs = record.config, other.config
        alike = (ours.data, ours.model, ours.task, ours.downsampling_ratio, ours.seed) == (
            theirs.data,
            theirs.model,
            theirs.task,
            theirs.downsampling_ratio,
            theirs.seed,
        )
        if not strict or ours.train is None or theirs.train is None:
            return alike
        return alike and ours.train.model_copy(update={"learning_rate": theirs.train.learning_rate}) == theirs.train

    near = [other for other in full if same(other, strict=False)]
    if len(near) > 1:
        near = [other for other in near if same(other, strict=True)] or near
    if len(near) == 1:
        return near[0]
    return "ambiguous_reference" if near else "no_reference"


def _undefined_gap(record: TrialRecord, reason: str) -> list[Measure]:
    attribute = record.config.data.minority_attribute
    return [undefined(metric, reason, attribute=attribute) for metric in (HARMFUL_BIAS_GAP, HARMFUL_BIAS_GAP_ABSOLUTE)]


def _settings(record: TrialRecord) -> MeasureSettings:
    data = record.config.data
    return MeasureSettings(
        min_group_rows=data.min_group_rows,
        minority_attribute=data.minority_attribute,
        minority_group=data.minority_group,
        ece_bins=record.config.evaluation.ece_bins,
    )


def analyse(
    storage: Storage, name: str, *, objectives: Sequence[str | Objective] | None = None, folder: Path | None = None
) -> Analysis:
    """Draw the front, write it with the report under the sweep's `analysis/` (or `folder`)."""
    from lfray.space.facts import DataFacts

    planned: Mapping[str, Any] = storage.read_json(name, "plan.json") or {}
    target = folder or storage.sweep_folder(name) / "analysis"
    target.mkdir(parents=True, exist_ok=True)
    records = sweep_records(storage, name)
    if not records:
        raise LfrayError(f"report: {name} has no recorded trial yet. Run it: lfray run <sweep file>")
    derived = derive(storage, records)
    front = front_of(records, objectives or planned["objectives"], derived=derived)
    facts: DataFacts = DataFacts.model_validate(planned["data"])
    context = ReportContext(
        name=name,
        spec_yaml=(storage.sweep_folder(name) / "spec.yaml").read_text(),
        bayes_accuracy=facts.bayes_accuracy,
        created_at=str(planned.get("created_at", "")),
        attribute=facts.minority_attribute,
        minority_group=facts.minority_group,
    )
    files = list(write_report(front, records, target, context=context, derived=derived))
    write_json(target / "front.json", front.to_json())
    write_json(target / "derived.json", [_derived_json(item) for item in derived])
    front.table.to_csv(target / "front.csv", index=False)
    return Analysis(front, derived, (*files, target / "front.json", target / "derived.json", target / "front.csv"))


def _derived_json(item: Derived) -> dict[str, Any]:
    return {
        "trial_id": item.trial_id,
        "against": list(item.against),
        "provenance": item.provenance,
        "measure": measure_to_json(item.measure),
    }
