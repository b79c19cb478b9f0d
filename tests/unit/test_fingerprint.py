from __future__ import annotations

import hashlib
import json
import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.errors import LfrayError
from lfray.fingerprint import canonical_bytes, file_digest, fingerprint, lines_digest

GOLDEN: dict[str, object] = {
    "74234e98afe7498f": None,
    "4f53cda18c2baa0c": [],
    "44136fa355b3678a": {},
    "6b86b273ff34fce1": 1,
    "d0ff5974b6aa52cf": 1.0,
    "b5bea41b6c623f7c": True,
    "2a4bdf7782facccb": "zürich",
    "9ab539afe2f372d4": {"b": [1, 2.5, None], "a": {"nested": (True, "x")}, "c": 1e-05},
}
"""Hash -> value. Frozen: were one to change, every record of every storage would stop standing for its trial."""


@pytest.mark.parametrize("digest", GOLDEN)
def test_hashes_are_what_they_always_were(digest: str) -> None:
    assert fingerprint(GOLDEN[digest]) == digest


def test_the_bytes_are_sorted_compact_json() -> None:
    assert canonical_bytes({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'.encode()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_values_survive_their_bytes(value: Any) -> None:
    assert json.loads(canonical_bytes(value)) == value


@given(st.dictionaries(st.text(), values, min_size=2, max_size=5))
def test_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


def test_what_differs_has_another_hash() -> None:
    different = [1, 1.0, True, "1", [1], (1, 1), {"1": 1}, None, 0.1 + 0.2, 0.3, "", {}]
    assert len({fingerprint(value) for value in different}) == len(different)


def test_lists_and_tuples_are_the_same_thing() -> None:
    assert fingerprint((1, (2, 3))) == fingerprint([1, [2, 3]])


class Color(StrEnum):
    RED = "red"


def test_text_and_numbers_of_a_subclass_are_what_they_are() -> None:
    assert fingerprint(Color.RED) == fingerprint("red")
    assert fingerprint(np.float64(0.5)) == fingerprint(0.5)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, {1, 2}, frozenset(), Path("/tmp"), b"x", object(), np.int64(1), np.zeros(2), range(3), 1j],
)
def test_a_value_without_one_written_form_is_refused_by_its_path(value: object) -> None:
    with pytest.raises(LfrayError, match=r"^fingerprint: \$\.a\[1\]"):
        fingerprint({"a": [0, value]})


def test_keys_must_be_text() -> None:
    with pytest.raises(LfrayError, match="keys must be text"):
        fingerprint({1: "a"})


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(LfrayError, match="UTF-8"):
        fingerprint(["\ud800"])


def test_digest_of_a_file_is_sha256_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(content)
    assert file_digest(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_digest_of_lines_marks_where_a_line_ends() -> None:
    assert lines_digest(["ab", "c"]) != lines_digest(["a", "bc"])
    assert lines_digest(["b", "a"]) != lines_digest(["a", "b"])
    assert lines_digest(["a", "b"]) == hashlib.sha256(b"a\nb\n").hexdigest()[:16]
