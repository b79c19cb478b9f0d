from __future__ import annotations

from lfray.space.facts import DataFacts, ModelFacts
from tests.unit.space.world import make_data, make_model


def test_facts_survive_json() -> None:
    assert DataFacts.model_validate_json(make_data().model_dump_json()) == make_data()
    assert ModelFacts.model_validate_json(make_model().model_dump_json()) == make_model()
