"""Files of a run: checked before anything is logged, copied to their paths inside the run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lfray.tracking.contract import TrackerRefused

if TYPE_CHECKING:
    from collections.abc import Mapping


def require(artifacts: Mapping[str, Path]) -> None:
    """Refuse artifacts that are not there.

    Args:
        artifacts: Path inside the run -> local file or folder.

    Raises:
        TrackerRefused: A file or folder is absent.
    """
    for name, path in artifacts.items():
        if not path.exists():
            raise TrackerRefused(f"tracking: artifact {name}: must exist (got {path}). Log it before it is removed")


def files(artifacts: Mapping[str, Path]) -> set[str]:
    """Paths of the files inside the run: a folder stands for the files in it."""
    found = set()
    for name, path in artifacts.items():
        if path.is_dir():
            found |= {f"{name}/{item.relative_to(path).as_posix()}" for item in path.rglob("*") if item.is_file()}
        else:
            found.add(name)
    return found


def upload(client: Any, run_id: str, artifacts: Mapping[str, Path]) -> None:
    """Copy files and folders into a run of an `MlflowClient`; what is there is written over."""
    for name, source in artifacts.items():
        target = PurePosixPath(name)
        folder = None if target.parent == PurePosixPath(".") else str(target.parent)
        if source.is_dir():
            client.log_artifacts(run_id, str(source), name)
        elif source.name == target.name:
            client.log_artifact(run_id, str(source), folder)
        else:  # MLflow takes the file's own name, so a file of another name is copied first
            with tempfile.TemporaryDirectory() as scratch:
                copy = shutil.copyfile(source, Path(scratch) / target.name)
                client.log_artifact(run_id, str(copy), folder)
