"""YAML 1.2's reading of one scalar, and environment variables inside it.

The core schema of YAML 1.2 makes `2e-4` a number and leaves `no`, `on`, `1_000` and dates text; the usual loaders read them
otherwise.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_REFERENCE = re.compile(r"\$?\$\{[^}]*\}?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def resolve_scalar(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2.

    Raises:
        ValueError: A number that is not finite, or of more digits than any field takes.
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 300:
        if _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
            raise ValueError("a number must have at most 300 characters")
        return text
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            raise ValueError("a number must be finite")
        return number
    return text


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Text with `${VAR}` and `${VAR:-default}` replaced; `$${` stands for `${`.

    Raises:
        ValueError: An unset variable without a default, or braces that name none; the message is the rule.
    """

    def value_of(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        reference = _VARIABLE.fullmatch(match[0])
        if reference is None:
            raise ValueError("${...} must hold the name of an environment variable")
        name, default = reference.groups()
        # As in a shell: an empty variable takes the default too.
        if environ.get(name) or (default is None and name in environ):
            return environ[name]
        if default is None:
            raise ValueError(f"environment variable {name} is not set")
        return default

    return _REFERENCE.sub(value_of, text)
