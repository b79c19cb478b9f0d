"""What pydantic found wrong, said in the words of a sweep file: one finding a value, however many forms it might have had."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from lfray.errors import did_you_mean
from lfray.spec.axis import axis_names
from lfray.spec.fields import field_at, keys_at, places
from lfray.spec.strict import UNSAID, Refusal
from lfray.spec.yaml_text import dotted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from lfray.spec.yaml_text import Path

_NOUNS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
}
"""Type of error -> what should have stood there."""

_BOUNDS = {
    "greater_than": ("must be greater than {gt:g}", "Raise it"),
    "greater_than_equal": ("must be at least {ge:g}", "Raise it"),
    "less_than": ("must be less than {lt:g}", "Lower it"),
    "less_than_equal": ("must be at most {le:g}", "Lower it"),
    "string_too_short": ("must not be empty", "Fill it, or remove the key"),
    "string_too_long": ("must have at most {max_length} characters", "Shorten it"),
}
_YES_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


@dataclass(frozen=True)
class Finding:
    """A problem before it has a file and a line. `got` is UNSAID where the value at `path` is meant."""

    path: Path
    rule: str
    got: Any = UNSAID
    remedy: str = ""


@dataclass(frozen=True)
class _Error:
    """One error of pydantic, placed in the document. `union` is the path of the value whose forms were tried, `form` the form."""

    path: Path
    details: ErrorDetails
    union: Path | None = None
    form: str = ""
    of_key: bool = False

    @property
    def kind(self) -> str:
        return self.details["type"]

    @property
    def mismatch(self) -> bool:
        """The value has not this form at all."""
        return self.path == self.union and (self.kind in _NOUNS or self.kind == "literal_error") and not self.of_key


def show(value: Any, limit: int = 60) -> str:
    """A value on one line as YAML would have it, shortened."""
    match value:
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case str():
            text = repr(value)
        case list() | tuple():
            text = f"[{', '.join(show(item, limit) for item in value[:9])}{', ...' if len(value) > 9 else ''}]"
        case dict():
            text = "{" + ", ".join(f"{key}: {show(item, limit)}" for key, item in list(value.items())[:9]) + "}"
        case _:
            text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def findings(error: ValidationError, document: Any) -> list[Finding]:
    """Everything pydantic found, placed in the document that it read: one finding a value."""
    placed = [_place(details, document) for details in error.errors(include_url=False)]
    found: list[Finding] = []
    unions: dict[Path, list[_Error]] = {}
    for item in placed:
        if item.union is None:
            found.append(_word(item, document))
        else:
            unions.setdefault(item.union, []).append(item)
    for path, items in unions.items():
        near = [item for item in items if not item.mismatch]
        if near:
            found += [_word(item, document) for item in near if item.form == near[0].form]
        else:
            found.append(_no_form(path, items, document))
    unique = {finding.path: finding for finding in reversed(found)}
    return [finding for finding in found if unique[finding.path] is finding]


def value_at(document: Any, path: Path) -> Any:
    """The value at `path`, or UNSAID where there is none."""
    for key in path:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return UNSAID
    return document


def _place(details: ErrorDetails, document: Any) -> _Error:
    path: Path = ()
    union: Path | None = None
    form, of_key = "", False
    for index, part in enumerate(details["loc"]):
        key = _key(value_at(document, path), part)
        if part == "[key]":
            of_key = True
        elif key is not UNSAID:
            path = (*path, key)
        elif details["type"] == "missing" and index == len(details["loc"]) - 1:
            path = (*path, part)
        elif union is None and not of_key:
            union, form = path, str(part)
    return _Error(path, details, union, form, of_key)


def _key(value: Any, part: str | int) -> Any:
    """The key that pydantic means by `part`: it writes keys that are neither text nor whole numbers as text."""
    if isinstance(value, dict):
        return part if part in value else next((key for key in value if str(key) == part), UNSAID)
    inside = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
    return part if inside else UNSAID


def _word(error: _Error, document: Any) -> Finding:
    context: Mapping[str, Any] = error.details.get("ctx", {})
    path, value = error.path, value_at(document, error.path)
    if error.of_key or error.kind == "invalid_key":
        known = keys_at(path[:-1])
        rule = f"a key here must be one of {', '.join(known)}" if known else "a key here must be text"
        return Finding(path, rule, path[-1], did_you_mean(str(path[-1]), known) if known else "Quote it")
    match error.kind:
        case "missing":
            return Finding(path, "required field is missing", "", _add(path))
        case "extra_forbidden":
            return Finding(path, "unknown field", remedy=_belongs(path))
        case "value_error":
            return _refusal(context["error"], path)
        case "literal_error":
            return Finding(path, _expected(context), remedy=_choice(value, context) or _help(path))
        case "too_short" | "too_long":
            low = error.kind == "too_short"
            bound = context["min_length"] if low else context["max_length"]
            rule = f"must hold at {'least' if low else 'most'} {bound} {'entry' if bound == 1 else 'entries'}"
            return Finding(path, rule, remedy="Add one" if low else "Remove some")
        case "string_pattern_mismatch":
            return Finding(path, "has characters that it may not have", remedy=_help(path))
        case kind if kind in _BOUNDS:
            rule, remedy = _BOUNDS[kind]
            return Finding(path, rule.format(**context), remedy=remedy)
        case kind if kind in _NOUNS:
            return Finding(path, f"must be {_NOUNS[kind]}", remedy=_type_remedy([kind], value, path))
    return Finding(path, error.details["msg"].lower(), remedy=_help(path))


def _no_form(path: Path, items: list[_Error], document: Any) -> Finding:
    """A value that has none of the forms its field may have."""
    value = value_at(document, path)
    words: list[str] = []
    choices: list[str] = []
    for item in items:
        context = item.details.get("ctx", {})
        if item.kind == "literal_error":
            choices.append(_choice(value, context))
            words.append(_expected(context).removeprefix("must be "))
        else:
            words.append(_NOUNS[item.kind])
    nouns = list(dict.fromkeys(words))
    near = next((choice for choice in choices if choice.startswith("Did")), "")
    return Finding(path, f"must be {' or '.join(nouns)}", remedy=near or _type_remedy([item.kind for item in items], value, path))


def _refusal(error: Any, path: Path) -> Finding:
    assert isinstance(error, Refusal), error
    below = tuple(error.at)
    return Finding((*path, *below), error.rule, error.got, error.remedy)


def _expected(context: Mapping[str, Any]) -> str:
    names = _names(context)
    return f"must be one of {', '.join(names)}" if len(names) > 1 else f"must be {names[0]}"


def _names(context: Mapping[str, Any]) -> list[str]:
    """The choices, from pydantic's `'a', 'b' or 'c'`."""
    return [name.strip().strip("'") for name in str(context["expected"]).replace(" or ", ", ").split(", ")]


def _choice(value: Any, context: Mapping[str, Any]) -> str:
    if not isinstance(value, str) or not get_close_matches(value, _names(context), n=1, cutoff=0.6):
        return ""
    return did_you_mean(value, _names(context))


def _type_remedy(kinds: list[str], value: Any, path: Path) -> str:
    if "bool_type" in kinds and isinstance(value, str) and value.lower() in _YES_NO:
        return f"YAML 1.2 has true and false only: write {_YES_NO[value.lower()]}"
    if "string_type" in kinds and isinstance(value, int | float):
        return f'Quote it: "{show(value)}"'
    if "tuple_type" in kinds and isinstance(value, str | int | float):
        return f"Write [{value}]"
    if {"int_type", "float_type"} & set(kinds) and isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return f"Write {value} without quotes"
    if value is None:
        return "Fill it, or remove the key"
    if "model_type" in kinds and keys_at(path):
        return f"Its fields: {', '.join(keys_at(path)[:8])}"
    return _help(path)


def _help(path: Path) -> str:
    """What the field is, or what it is when left out."""
    field = field_at(path)
    if field is not None and field.description:
        return field.description.splitlines()[0].rstrip(".")
    if field is not None and not field.is_required() and isinstance(field.default, str | int | float):
        return f"Leave it out for the default, {show(field.default)}"
    return "`lfray schema` describes every field"


def _add(path: Path) -> str:
    about = _help(path)
    return f"Add {path[-1]}" + ("" if about.startswith("`") else f": {about}")


def _under(found: Sequence[str], level: Path) -> str:
    """The places where a field may stand; those that there are for every method as one: this method's, else `<method>`."""
    of_method = [place for place in found if place.startswith("resources.")]
    method = str(level[-1]) if level and f"resources.{level[-1]}" in of_method else "<method>"
    named = [place or "the top level" for place in found if place not in of_method]
    return " or ".join([*named, f"resources.{method}"][:3] if of_method else named[:3])


def _belongs(path: Path) -> str:
    """Where an unknown field belongs: the nearest name at its level, else the level that has it, else the nearest of all."""
    word, level = str(path[-1]), keys_at(path[:-1])
    if get_close_matches(word, level, n=1, cutoff=0.8):
        return did_you_mean(word, level)
    if word in ("rank", "seed", "downsampling_ratio", "method") and dotted(path[:-1]) != "axes":
        return f"It is an axis: axes: {{{word}: [...]}}"
    longer = [key for key in level if key.startswith(f"{word}_")]
    if len(longer) == 1:
        return f"Did you mean '{longer[0]}'?"
    if word in places():
        return f"It belongs under {_under(places()[word], path[:-1])}"
    if get_close_matches(word, level, n=1, cutoff=0.6):
        return did_you_mean(word, level)
    elsewhere = get_close_matches(word, places(), n=1, cutoff=0.8)
    if elsewhere:
        return f"Did you mean '{elsewhere[0]}' under {places()[elsewhere[0]][0] or 'the top level'}?"
    if get_close_matches(word, axis_names(), n=1, cutoff=0.8):
        return "Axes stand under axes"
    return did_you_mean(word, level) or "Nothing may stand here"
