"""Data sets of the Hugging Face hub, pinned to a commit, online or from the local cache.

`datasets` by itself falls back to whichever version its own cache holds when the hub is out of reach, whatever revision was
asked for. So the commit is resolved first, and without a network the rows come from the hub cache's snapshot of that commit.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # its alias, as `datasets` imports it

from lfray.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class HubCommit:
    """One commit of a data set; `snapshot` is its local folder where the hub could not be reached."""

    repository: str
    commit: str
    snapshot: Path | None


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of `datasets` inside; the caller's choice is restored."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def resolve(reference: str) -> HubCommit:
    """The commit that `<id>[@revision]` stands for now (revision: branch, tag or commit; default main).

    Raises:
        DataError: No such data set or revision, or the hub is out of reach and the cache holds no snapshot of it.
    """
    repository, _, revision = reference.partition("@")
    wanted = revision or "main"
    try:
        found = HfApi().dataset_info(repository, revision=wanted, timeout=30)
    except (OfflineModeIsEnabled, httpx.TransportError):
        return _cached(repository, wanted)
    except (HfHubHTTPError, HFValidationError) as error:
        raise DataError(
            f"data.source: the hub must have data set {repository!r} at revision {wanted!r} (got: {_first_line(error)}). "
            "Check the id, or log in with `hf auth login` where it is gated"
        ) from error
    return HubCommit(repository, str(found.sha), None)


def _cached(repository: str, wanted: str) -> HubCommit:
    try:
        folder = Path(snapshot_download(repository, repo_type="dataset", revision=wanted, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise DataError(
            f"data.source: the hub is out of reach, and its cache has no snapshot of {repository!r} at revision {wanted!r}. "
            f"Where there is a network: hf download --repo-type dataset {repository} --revision {wanted}"
        ) from error
    return HubCommit(repository, folder.name, folder)


def load(commit: HubCommit, config: str | None) -> datasets.DatasetDict:
    """Every split of one commit.

    Raises:
        DataError: The data set needs a configuration or a script, has no data files, or cannot be read.
    """
    source = commit.repository if commit.snapshot is None else str(commit.snapshot)
    revision = commit.commit if commit.snapshot is None else None
    try:
        with quiet():
            builder = datasets.load_dataset_builder(source, config, revision=revision)
            # The csv reader of `datasets` takes the texts "NA", "null" and "None" for missing values unless told otherwise.
            options = {"keep_default_na": False} if builder.name == "csv" else {}
            return datasets.load_dataset(source, config, revision=revision, **options)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, HfHubHTTPError, httpx.HTTPError) as error:
        raise DataError(
            f"data.source: hub data set {commit.repository!r} must load without a script (got: {_first_line(error)}). "
            "Name one of its configurations in data.config, or download its files and use file:"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
