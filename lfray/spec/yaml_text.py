"""YAML 1.2 text as plain values that remember their lines: the one module that names ruamel.yaml.

ruamel parses; scalars are resolved by `scalars`, duplicate keys are refused instead of the last one winning, and what `${VAR}`
stands for is kept beside the text as written, so that a secret from the environment is in no message and in no stored file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from lfray.errors import Problem, SpecError
from lfray.spec.scalars import expand, resolve_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Path = tuple[str | int, ...]
"""Keys and indices from the top of the file."""

MAX_NODES = 20_000
"""Values in a file, each use of an anchor counted in full: nine anchors of nine aliases each would be 400 million."""
MAX_DEPTH = 40


@dataclass(frozen=True)
class Document:
    """One YAML document. `problems` are those that leave the rest readable; their paths carry a stand-in value."""

    value: Any = field(repr=False)
    """Plain values, `${VAR}` expanded."""
    written: Any
    """The same, as written."""
    lines: Mapping[Path, int]
    """Line of the key, or of the item of a list. What lies inside the use of an anchor has none of its own."""
    references: Mapping[Path, str]
    """Scalars that took something from the environment, as written."""
    problems: tuple[tuple[Path, Problem], ...]


def dotted(path: Path) -> str:
    """`axes.rank[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_yaml(text: str, *, file: str, environ: Mapping[str, str]) -> Document:
    """Read the one document in `text`.

    Raises:
        SpecError: The text is no YAML, holds no document or several, or uses what a sweep file has no use for (tags, merge keys,
            keys that are no scalars).
    """
    try:
        return _Reader(text, environ).document()
    except _Refused as refused:
        raise SpecError(file, [refused.problem]) from None
    except YAMLError as error:
        raise SpecError(file, [_syntax(error, text)]) from None


class _Refused(Exception):
    """The text cannot be read on from here."""

    def __init__(self, rule: str, *, got: str = "", remedy: str, line: int | None, path: Path = ()) -> None:
        self.problem = Problem(dotted(path), rule, got, remedy, line)


@dataclass
class _Node:
    value: Any
    written: Any
    size: int = 1


class _Reader:
    """Builds values from ruamel's events; one instance a text."""

    def __init__(self, text: str, environ: Mapping[str, str]) -> None:
        self._text = text
        self._events: Iterator[Any] = YAML(typ="safe", pure=True).parse(StringIO(text))
        self._environ = environ
        self._anchors: dict[str, _Node | None] = {}
        self._lines: dict[Path, int] = {}
        self._references: dict[Path, str] = {}
        self._problems: list[tuple[Path, Problem]] = []

    def document(self) -> Document:
        self._expect(StreamStartEvent)
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise _Refused("the file holds nothing", remedy="`lfray init` writes one to start from", line=1)
        if getattr(start, "version", None) not in (None, (1, 2)):
            line = next(n for n, words in enumerate(self._text.splitlines(), start=1) if words.startswith("%YAML"))
            raise _Refused("sweep files are YAML 1.2", got="a %YAML directive", remedy="Remove the directive", line=line)
        first = next(self._events)
        self._lines[()] = _line(first)
        root = self._node(first, (), 0)
        self._expect(DocumentEndEvent)
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            raise _Refused("a sweep file holds one document", got="a second ---", remedy="Split the file", line=_line(after))
        return Document(root.value, root.written, self._lines, self._references, tuple(self._problems))

    def _expect(self, kind: type) -> None:
        event = next(self._events)
        assert isinstance(event, kind), event

    def _node(self, event: Any, path: Path, depth: int) -> _Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        if getattr(event, "tag", None) is not None:
            rule, remedy = "tags have no meaning in a sweep file", "Remove it; quotes make a value text"
            raise _Refused(rule, got=str(event.tag), remedy=remedy, line=_line(event), path=path)
        if depth > MAX_DEPTH:
            raise _Refused(f"at most {MAX_DEPTH} levels may be nested", remedy="Look for a bracket too many", line=_line(event))
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        match event:
            case ScalarEvent():
                node = self._scalar(event, path)
            case SequenceStartEvent():
                node = self._sequence(path, depth)
            case _:
                assert isinstance(event, MappingStartEvent), event
                node = self._mapping(path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if node.size > MAX_NODES:
            raise _Refused(
                f"at most {MAX_NODES} values may stand in a file", remedy="Use fewer aliases", line=_line(event), path=path
            )
        return node

    def _alias(self, event: Any, path: Path) -> _Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            rule = "an alias must follow its anchor's value"
            raise _Refused(rule, got=f"*{event.anchor}", remedy="Write the value out", line=_line(event), path=path)
        return node

    def _scalar(self, event: Any, path: Path) -> _Node:
        plain = event.style is None
        written: str = event.value
        expanded = written
        try:
            if "${" in written:
                expanded = expand(written, self._environ)
                self._references[path] = written
            value = resolve_scalar(expanded) if plain else expanded
        except ValueError as error:
            remedy = (
                "Set it, or write ${NAME:-default}; $${ stands for a plain ${" if "${" in written else "Write a finite number"
            )
            self._problems.append((path, Problem(dotted(path), str(error), written[:60], remedy, _line(event))))
            return _Node(written, written)
        return _Node(value, written if expanded != written else value)

    def _sequence(self, path: Path, depth: int) -> _Node:
        node = _Node([], [])
        while not isinstance(event := next(self._events), SequenceEndEvent):
            below = (*path, len(node.value))
            self._lines[below] = _line(event)
            self._take(node, self._node(event, below, depth + 1), event)
        return node

    def _mapping(self, path: Path, depth: int) -> _Node:
        node = _Node({}, {})
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, path)
            below = (*path, key)
            if key in node.value:
                first = self._lines[below]
                problem = Problem(
                    dotted(below), "a key may stand once", f"also on line {first}", "Remove one of the two", _line(event)
                )
                self._problems.append((below, problem))
                self._node(next(self._events), (*path, f"{key} (again)"), depth + 1)
                continue
            self._lines[below] = _line(event)
            self._take(node, self._node(next(self._events), below, depth + 1), event, key)
        return node

    def _take(self, node: _Node, child: _Node, event: Any, key: Any = None) -> None:
        node.size += child.size
        if node.size > MAX_NODES:
            raise _Refused(f"at most {MAX_NODES} values may stand in a file", remedy="Use fewer aliases", line=_line(event))
        if isinstance(node.value, dict):
            node.value[key], node.written[key] = child.value, child.written
        else:
            node.value.append(child.value)
            node.written.append(child.written)

    def _key(self, event: Any, path: Path) -> Any:
        if not isinstance(event, ScalarEvent):
            raise _Refused(
                "a key must be one word or number", remedy="Quote it if brackets belong to it", line=_line(event), path=path
            )
        if event.value == "<<" and event.style is None:
            raise _Refused("merge keys are not YAML 1.2", got="<<", remedy="Write the fields out", line=_line(event), path=path)
        try:
            return resolve_scalar(event.value) if event.style is None else event.value
        except ValueError as error:
            raise _Refused(f"{error}", got=event.value[:60], remedy="Quote the key", line=_line(event), path=path) from None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _syntax(error: YAMLError, text: str) -> Problem:
    if not isinstance(error, MarkedYAMLError):
        # ruamel's ReaderError: a character that YAML forbids, given by its position.
        position = int(getattr(error, "position", 0))
        got = f"character U+{ord(text[position]):04X}" if position < len(text) else ""
        return Problem("", "a sweep file is plain text", got, "Remove the character", text.count("\n", 0, position) + 1)
    said = str(error.problem or error)
    torn = "end of stream" in said or "<stream end>" in said
    mark = error.context_mark if torn and error.context_mark is not None else error.problem_mark
    number = 1 if mark is None else int(mark.line) + 1
    source = text.splitlines()[number - 1] if number <= len(text.splitlines()) else ""
    match said:
        case _ if "${" in source:
            remedy = 'Inside { } or [ ] quote it: "${NAME}"'
        case _ if "'\\t'" in said or "\t" in source:
            remedy = "Indent with spaces, not with tabs"
        case _ if torn:
            remedy = "Close the quote or bracket that opens here"
        case _ if "mapping values" in said:
            remedy = "Check the indentation; text that holds a colon and a space needs quotes"
        case _:
            remedy = "Check indentation, quotes and brackets here and on the line before"
    return Problem("", f"is not YAML: {said.splitlines()[0]}", source.strip()[:60], remedy, number)
