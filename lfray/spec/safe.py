"""A sweep as it may be stored: complete with its defaults, and with `${VAR}` where the value came from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lfray.spec.load import LoadedSweep


def storable(loaded: LoadedSweep) -> dict[str, Any]:
    """Every field, defaults filled in, JSON types. What the environment supplied stands as it was written, never as its value."""
    filled: dict[str, Any] = loaded.spec.model_dump(mode="json", by_alias=True)
    covered: dict[str, Any] = _cover(filled, loaded.document)
    return covered


def _cover(value: Any, written: Any) -> Any:
    match value, written:
        case dict(), dict():
            names = {str(key): item for key, item in written.items()}
            return {key: _cover(item, names.get(key)) for key, item in value.items()}
        case list(), list() if len(value) == len(written):
            return [_cover(item, other) for item, other in zip(value, written, strict=True)]
        case _, str() if "${" in written:
            return written
        case _:
            return value
