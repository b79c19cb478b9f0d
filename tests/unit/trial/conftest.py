"""A worker sets its process up for trials; tests put everything back."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import pytest
import torch
import transformers


@pytest.fixture
def worker_settings() -> Iterator[None]:
    """Threads, determinism, notices and progress bars as they were."""
    threads, verbosity = torch.get_num_threads(), transformers.logging.get_verbosity()
    deterministic, bars = torch.are_deterministic_algorithms_enabled(), datasets.are_progress_bars_disabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    transformers.logging.set_verbosity(verbosity)
    transformers.utils.logging.enable_progress_bar()
    if not bars:
        datasets.enable_progress_bars()
