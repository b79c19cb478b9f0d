"""`ReportContext`: what a report says about its sweep that neither the front nor the records know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ReportContext:
    """About the sweep."""

    name: str
    spec_yaml: str
    """The sweep file as stored: references to secrets, never their values."""
    created_at: str
    """UTC, ISO 8601; the only date on the page, so that the same sweep gives the same page."""
    attribute: str
    """Attribute whose groups are drawn: that of the minority."""
    minority_group: str
    """The group whose training rows are downsampled."""
    bayes_accuracy: Mapping[str, float] = field(default_factory=dict)
    """Group -> the best accuracy that any model could reach, where the data's generator is known."""
