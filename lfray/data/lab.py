"""Placeholder until the lab lands in this commit series."""

from typing import Any


def lab_world(name: str, options: Any) -> Any:
    """None yet."""
    raise NotImplementedError
