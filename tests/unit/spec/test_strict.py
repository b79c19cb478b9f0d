from __future__ import annotations

import pytest
from pydantic import ValidationError

from lfray.spec.strict import UNSAID, Items, Refusal, Strict


class Part(Strict):
    """A part."""

    items: Items[int] = ()
    """Numbers."""


def test_lists_become_tuples_and_nothing_else_does() -> None:
    assert Part.model_validate({"items": [1, 2]}).items == (1, 2)
    for wrong in ("12", {1}, 1, [1.0], ["1"], [True]):
        with pytest.raises(ValidationError):
            Part.model_validate({"items": wrong})


def test_closed_and_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Part.model_validate({"item": [1]})
    with pytest.raises(ValidationError, match="frozen"):
        Part().items = (1,)  # type: ignore[misc]


def test_a_refusal_says_where() -> None:
    refusal = Refusal("must differ", at="a.b", remedy="Change one")
    assert (refusal.at, refusal.got, str(refusal)) == (("a", "b"), UNSAID, "must differ")
