"""Fixtures shared by the unit tests. Heavy packages are imported inside them, so that tests of the pure core stay light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.model.tiny import Bases


@pytest.fixture(scope="session")
def one_thread() -> None:
    """One thread: small tensors are faster so, and sums come out in one order."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bases(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Folders of tiny base models with their tokenizers, made once."""
    from tests.unit.model.tiny import make_bases

    return make_bases(tmp_path_factory.mktemp("bases"))
