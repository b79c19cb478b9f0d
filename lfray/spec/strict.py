"""What every part of a sweep file is made of: closed, strict, frozen models, and their refusal when two fields disagree."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_T = TypeVar("_T")
Scalar = str | int | bool | float
UNSAID: Any = object()
"""Marks a refusal that does not say what came: then it is the value that stands in the file."""


class Refusal(ValueError):
    """A rule that holds between fields was broken.

    Args:
        rule: What must hold.
        at: Dotted path of the field at fault, from the model that refuses; empty for the model itself.
        got: What came, where it is not simply the value at `at`.
        remedy: The way out.
    """

    def __init__(self, rule: str, *, at: str = "", got: Any = UNSAID, remedy: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.at = tuple(at.split(".")) if at else ()
        self.got = got
        self.remedy = remedy


def _tuple(value: Any) -> Any:
    """YAML has lists only; strict mode would refuse them for a tuple."""
    return tuple(value) if isinstance(value, list) else value


Items = Annotated[tuple[_T, ...], BeforeValidator(_tuple)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=120)]
Rate = Annotated[float, Field(gt=0, le=10)]


class Strict(BaseModel):
    """Closed, strict, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
