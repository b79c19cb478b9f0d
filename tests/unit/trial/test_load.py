from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from lfray.errors import ModelError
from lfray.model.folder import model_facts
from lfray.space.trial import LoraMethod
from lfray.storage import Storage
from lfray.trial.load import load_trial
from tests.unit.records import make_config, make_record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.model.tiny import Bases


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_four_bit_trial_is_not_loaded_on_another_base_than_it_was_evaluated_with(bases: Bases, tmp_path: Path) -> None:
    config = make_config("lora")
    assert isinstance(config.method, LoraMethod)
    base = config.model.model_copy(update={"fingerprint": model_facts(bases.bert).fingerprint})
    config = config.model_copy(update={"method": config.method.model_copy(update={"variant": "qlora"}), "model": base})
    storage = Storage(tmp_path)
    storage.write_record(replace(make_record(config=config), context={"model_folder": str(bases.bert)}))
    (storage.trial_folder(config.trial_id) / "adapter").mkdir()
    with pytest.raises(
        ModelError, match=r"has a 4-bit base, which needs bitsandbytes and a GPU .*Load it on a machine with both"
    ):
        load_trial(storage, config.trial_id)
