r"""The grammar of `--where`: which trials take part. Parsed by hand into a small tree; nothing is ever evaluated as code.

    expression := conjunction { "or" conjunction }
    conjunction := negation { "and" negation }
    negation   := "not" negation | "(" expression ")" | comparison
    comparison := name ( < | <= | > | >= | == | = | != ) literal
    name       := letter or _, then letters, digits, _ . : / -      (bare; the words and, or, not are taken)
                | anything in '...', "..." or `...`                  (\ keeps the next character as it is)
    literal    := number | 'text' | "text"

A name stands left and a literal right, so quotes mean a name here and a text there and no flat key needs an escape. A name is
a column of the table (`method`, `rank`, `downsampling_ratio`, `seed`, `train.learning_rate`, ...) or a flat metric key with
its group written plainly or escaped. An absent value (NaN, no rank) makes every comparison false, `!=` too.
"""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Never

import numpy as np
import pandas as pd

from lfray.errors import LfrayError, did_you_mean
from lfray.names import METRICS, parse_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

MAX_DEPTH: Final = 50
"""Nesting of parentheses and `not`; deeper is refused before Python's own stack ends."""

_OPERATORS: Final = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![A-Za-z0-9_.])", re.ASCII)
_OPERATOR: Final = re.compile(r"<=|>=|==|!=|<|>|=")
_SPACE: Final = re.compile(r"\s*")
_QUOTED: Final = re.compile(r"""(['"`])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_WORDS: Final = ("and", "or", "not")


@dataclass(frozen=True)
class Comparison:
    """`name op value`."""

    name: str
    op: str
    value: float | str


@dataclass(frozen=True)
class Not:
    """True where its part is false."""

    part: Expression


@dataclass(frozen=True)
class All:
    """`and`: two parts or more."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Some:
    """`or`: two parts or more."""

    parts: tuple[Expression, ...]


Expression = Comparison | Not | All | Some


def parse(text: str) -> Expression:
    """The tree of an expression.

    Raises:
        LfrayError: The text is not an expression; the message names the column (1-based), what was expected and what came.
    """
    parser = _Parser(text)
    tree = parser.expression(0)
    if not parser.at_end():
        parser.refuse("expected 'and', 'or' or the end")
    return tree


def to_text(tree: Expression) -> str:
    """An expression that `parse` reads back into the same tree; names are quoted unless they can stand bare."""
    match tree:
        case Comparison(name, op, value):
            bare = _NAME.fullmatch(name) and name not in _WORDS
            return f"{name if bare else _quote(name)} {op} {_quote(value) if isinstance(value, str) else repr(value)}"
        case Not(part):
            return f"not ({to_text(part)})"
        case All(parts):
            return " and ".join(f"({to_text(part)})" for part in parts)
        case Some(parts):
            return " or ".join(f"({to_text(part)})" for part in parts)


def matches(tree: Expression, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether the expression holds for each row. Bool [N].

    Raises:
        LfrayError: A name is no column and no metric that a trial measured, or text and number are compared.
    """
    match tree:
        case Comparison():
            return _compare(tree, table)
        case Not(part):
            return ~matches(part, table)
        case All(parts):
            return np.asarray(np.stack([matches(part, table) for part in parts]).all(axis=0))
        case Some(parts):
            return np.asarray(np.stack([matches(part, table) for part in parts]).any(axis=0))


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _column(name: str, table: pd.DataFrame) -> str | None:
    """The column that a name means; None for a metric in a table without rows (nothing is measured yet)."""
    if name in table:
        return name
    if name.split("/")[0].removeprefix("validation.").partition(".class_")[0] not in METRICS:
        raise LfrayError(f"where: {name}: no such column or metric. {did_you_mean(name, [*table.columns, *METRICS])}")
    key = parse_key(name).text()
    if key in table:
        return key
    if len(table) == 0:
        return None
    raise LfrayError(f"where: {name}: no trial measured it. {did_you_mean(key, _near(key, table.columns))}")


def _near(key: str, columns: Collection[str]) -> list[str]:
    """Columns of the same metric, or all columns where there is none."""
    base = key.split("/")[0]
    return [column for column in columns if column.split("/")[0] == base] or list(columns)


def _compare(comparison: Comparison, table: pd.DataFrame) -> NDArray[np.bool_]:
    name, value = comparison.name, comparison.value
    column = _column(name, table)
    if column is None or len(table) == 0:
        return np.zeros(len(table), dtype=bool)
    cells = table[column]
    present = cells.notna().to_numpy(dtype=bool)
    result = np.zeros(len(table), dtype=bool)
    is_number = pd.api.types.is_numeric_dtype(cells.dtype)
    if is_number == isinstance(value, str) and present.any():
        expected = "a number" if is_number else "text in quotes"
        raise LfrayError(f"where: {name}: is compared with {expected} (got {value!r})")
    if isinstance(value, str) and comparison.op not in ("==", "!="):
        raise LfrayError(f"where: {name}: text is compared with == or != (got {comparison.op})")
    compare = _OPERATORS[comparison.op]
    held = cells[present].to_numpy(dtype=np.float64 if is_number else object)
    result[present] = np.asarray(compare(held, value), dtype=bool)
    return result


class _Parser:
    """Recursive descent; the position decides whether quotes hold a name or a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def expression(self, depth: int) -> Expression:
        parts = [self.conjunction(depth)]
        while self.word("or"):
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def conjunction(self, depth: int) -> Expression:
        parts = [self.negation(depth)]
        while self.word("and"):
            parts.append(self.negation(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def negation(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            self.refuse(f"nested deeper than {MAX_DEPTH}")
        if self.word("not"):
            return Not(self.negation(depth + 1))
        if self.take("("):
            tree = self.expression(depth + 1)
            if not self.take(")"):
                self.refuse("expected ')', 'and' or 'or'")
            return tree
        return self.comparison()

    def comparison(self) -> Comparison:
        name = self.quoted()
        if name is None:
            found = _NAME.match(self.text, self.skip())
            if found is None or found.group() in _WORDS:
                self.refuse("expected a column or metric", "A comparison has its name left: rank >= 8")
            name = found.group()
            self.at = found.end()
        found = _OPERATOR.match(self.text, self.skip())
        if found is None:
            self.refuse(f"expected < <= > >= == or != after {name}", "A name with spaces or other marks stands in quotes")
        self.at = found.end()
        return Comparison(name, {"=": "=="}.get(found.group(), found.group()), self.literal())

    def literal(self) -> float | str:
        text = self.quoted()
        if text is not None:
            return text
        found = _NUMBER.match(self.text, self.skip())
        if found is None:
            self.refuse("expected a number or text in quotes", "Text stands in quotes: method == 'lora'")
        value = float(found.group())
        if not math.isfinite(value):
            self.refuse("expected a finite number")
        self.at = found.end()
        return value

    def quoted(self) -> str | None:
        found = _QUOTED.match(self.text, self.skip())
        if found is None:
            return None
        self.at = found.end()
        return re.sub(r"\\(.)", r"\1", found.group(2), flags=re.DOTALL)

    def word(self, word: str) -> bool:
        found = _NAME.match(self.text, self.skip())
        return found is not None and found.group() == word and self.take(word)

    def take(self, token: str) -> bool:
        if not self.text.startswith(token, self.skip()):
            return False
        self.at += len(token)
        return True

    def skip(self) -> int:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def at_end(self) -> bool:
        return self.skip() == len(self.text)

    def refuse(self, rule: str, remedy: str = "") -> Never:
        rest = self.text[self.skip() :]
        got = repr(rest[:20] + ("..." if len(rest) > 20 else "")) if rest else "the end"
        raise LfrayError(f"where: column {self.at + 1}: {rule} (got {got})" + (f". {remedy}" if remedy else ""))
