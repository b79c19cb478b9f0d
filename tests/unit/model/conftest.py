"""Decoders of the two papers' larger models, beside the tiny GPT-2 and BERT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.model.tiny import make_families

if TYPE_CHECKING:
    from tests.unit.model.tiny import Families


@pytest.fixture(scope="session")
def families(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Families:
    """Folders of tiny OPT and Llama models with their tokenizers, made once."""
    return make_families(tmp_path_factory.mktemp("families"))
