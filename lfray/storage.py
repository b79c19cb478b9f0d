"""Where trials and sweeps are kept: atomic files, the record last.

    <root>/trials/<trial_id>/{predictions.parquet, adapter/, checkpoint/, record.json}
    <root>/sweeps/<name>/{spec.yaml, spec.json, plan.json, analysis/}
    <root>/data/<fingerprint>/   prepared rows, shared by every sweep that has them
    <root>/models/<key>/         bases of the lab

A trial counts as recorded when `record.json` stands; everything it refers to was put in place before. A file is written under a
temporary name, flushed to the disk and renamed, so a killed writer leaves the old file or the new one. Two workers that
write the same trial write the same bytes of it: the last rename wins.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.errors import StorageError
from lfray.record_json import record_from_json, record_to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.record import TrialRecord


class Storage:
    """A folder of trials and sweeps, local or on a network file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def at(cls, location: str, *, relative_to: Path) -> Storage:
        """The storage that a sweep file or an option names.

        Raises:
            StorageError: An object store (not in this version), or a place that cannot be a folder.
        """
        if "://" in location and not location.startswith("file://"):
            raise StorageError(f"storage: must be a folder in this version (got {location}). Use a local or network folder")
        root = (relative_to / Path(location.removeprefix("file://")).expanduser()).resolve()
        if root.exists() and not root.is_dir():
            raise StorageError(f"storage: must be a folder (got the file {root}). Choose another place")
        return cls(root)

    def ensure(self) -> None:
        """Create the folder and see that it can be written to.

        Raises:
            StorageError: It cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise StorageError(f"storage: {self.root} must be writable ({error.strerror}). Choose another folder") from error

    def trial_folder(self, trial_id: str) -> Path:
        """Folder of a trial."""
        return self.root / "trials" / _plain(trial_id)

    def sweep_folder(self, name: str) -> Path:
        """Folder of a sweep."""
        return self.root / "sweeps" / _plain(name)

    @property
    def data_root(self) -> Path:
        """Folder of prepared data."""
        return self.root / "data"

    @property
    def model_root(self) -> Path:
        """Folder of bases made here."""
        return self.root / "models"

    def sweeps(self) -> list[str]:
        """Names of the sweeps that were planned here, sorted."""
        return sorted(path.parent.name for path in (self.root / "sweeps").glob("*/plan.json"))

    def write_record(self, record: TrialRecord) -> None:
        """Put the record in place: from now on the trial is recorded."""
        write_json(self.trial_folder(record.trial_id) / "record.json", record_to_json(record))

    def read_record(self, trial_id: str) -> TrialRecord | None:
        """A trial's record, or None where there is none.

        Raises:
            StorageError: The file is torn or of another schema.
        """
        path = self.trial_folder(trial_id) / "record.json"
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{path}: not a record ({error}). Set it aside (or update lfray, if a newer one wrote it) and run the sweep again"
            ) from error
        return record_from_json(raw, source=str(path))

    def read_records(self, trial_ids: list[str]) -> Iterator[TrialRecord]:
        """The records that exist, in the order asked for."""
        for trial_id in trial_ids:
            record = self.read_record(trial_id)
            if record is not None:
                yield record

    def set_aside(self, trial_id: str) -> Path | None:
        """Move a record out of the way (`record.json.<n>`): the trial may run again, and nothing is lost."""
        folder = self.trial_folder(trial_id)
        path = folder / "record.json"
        if not path.exists():
            return None
        taken = [int(number) for old in folder.glob("record.json.*") if (number := old.name.rpartition(".")[2]).isdigit()]
        aside = folder / f"record.json.{1 + max(taken, default=0)}"
        os.replace(path, aside)
        return aside

    def write_plan(self, name: str, plan: dict[str, Any], spec_text: str, spec: dict[str, Any]) -> None:
        """Keep a sweep's file as written, its resolved form and its plan."""
        folder = self.sweep_folder(name)
        write_text(folder / "spec.yaml", spec_text)
        write_json(folder / "spec.json", spec)
        write_json(folder / "plan.json", plan)

    def read_json(self, name: str, file: str) -> dict[str, Any] | None:
        """`plan.json` or `spec.json` of a sweep; None where it was never planned."""
        path = self.sweep_folder(name) / file
        try:
            loaded: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: not JSON ({error}). Run `lfray plan` again") from error
        return loaded


def _plain(name: str) -> str:
    """A name that stays inside its folder."""
    if not name or name in (".", "..") or any(char in name for char in "/\\\0"):
        raise StorageError(f"storage: a name must be one plain path segment (got {name!r})")
    return name


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: temporary name, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def replace_folder(temporary: Path, target: Path) -> None:
    """Put a finished folder in place of whatever stands there."""
    if target.exists():
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
        os.replace(temporary, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
