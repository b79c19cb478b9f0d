from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lfray.data.prepare import prepare_data
from lfray.data.prepared import PreparedData, open_data
from lfray.data.text import encode_rows
from lfray.errors import DataError, StorageError
from lfray.spec.stages import TaskSpec
from tests.unit.data.builders import data_spec, people, write_rows


@dataclass
class Encoded:
    input_ids: list[list[int]]
    token_type_ids: list[list[int]] | None
    truncated: list[bool]


@dataclass
class Letters:
    """A token a letter, at most `limit`; a second text gets type 1. Counts the texts that it was asked for."""

    limit: int = 10
    types: bool = True
    asked: int = 0

    def __call__(self, texts: list[str], pairs: list[str] | None, /) -> Encoded:
        self.asked += len(texts)
        whole = [[ord(c) for c in text + pair] for text, pair in zip(texts, pairs or [""] * len(texts), strict=True)]
        types = [[int(i >= len(text)) for i in range(min(len(ids), self.limit))] for text, ids in zip(texts, whole, strict=True)]
        return Encoded([ids[: self.limit] for ids in whole], types if self.types else None, [len(w) > self.limit for w in whole])


def prepare(tmp_path: Path, count: int, *, pair: bool = False) -> PreparedData:
    rows = [{**row, "text": row["text"] + "x" * (i % 7), "second": "p"} for i, row in enumerate(people(count))]
    write_rows(tmp_path / "all.csv", rows)
    spec = data_spec(columns={"text_pair": "second"} if pair else {})
    return prepare_data(spec, TaskSpec(), folder=tmp_path, root=tmp_path / "data")


@pytest.mark.parametrize("pair", [False, True])
def test_tokens_are_the_encoders_in_row_order(tmp_path: Path, pair: bool) -> None:
    prepared = prepare(tmp_path, 2300, pair=pair)
    encoded = encode_rows(prepared, Letters(), key="letters")
    texts = [row["text"] + ("p" if pair else "") for row in prepared.dataset]
    assert len(encoded) == 2300
    assert encoded.token_types is not None
    for i, text in enumerate(texts):
        span = slice(encoded.offsets[i], encoded.offsets[i + 1])
        assert "".join(map(chr, encoded.tokens[span])) == text[:10]
        assert encoded.token_types[span].sum() == (pair and len(text) <= 10)
        assert encoded.truncated[i] == (len(text) > 10)
    assert encoded.lengths.tolist() == [min(10, len(text)) for text in texts]


def test_views_are_of_the_file_and_read_only(tmp_path: Path) -> None:
    encoded = encode_rows(prepare(tmp_path, 50), Letters(types=False), key="k")
    assert encoded.token_types is None
    kinds = {"tokens": np.int32, "offsets": np.int64, "truncated": np.bool_}
    for name, kind in kinds.items():
        array = getattr(encoded, name)
        assert array.dtype == kind
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_a_second_trial_only_maps(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, 50)
    first, second, other = Letters(), Letters(), Letters(limit=3)
    one = encode_rows(prepared, first, key="k")
    two = encode_rows(open_data(prepared.folder), second, key="k")
    assert (first.asked, second.asked) == (50, 0)
    assert one.tokens.tolist() == two.tokens.tolist()
    assert encode_rows(prepared, other, key="k3").lengths.tolist() == [3] * 50
    assert sorted(path.name for path in prepared.folder.iterdir()) == ["facts.json", "rows", "tokens-k", "tokens-k3"]


def test_a_text_without_tokens_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, 20)
    with pytest.raises(DataError, match=r"every text must become at least one token \(got none from 'text"):
        encode_rows(prepared, Letters(limit=0), key="none")
    assert sorted(path.name for path in prepared.folder.iterdir()) == ["facts.json", "rows"]


def test_torn_tokens_are_refused(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, 20)
    encode_rows(prepared, Letters(), key="k")
    path = prepared.folder / "tokens-k" / "tokens.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:40])
    with pytest.raises(StorageError, match="tokens cannot be read"):
        encode_rows(prepared, Letters(), key="k")
    (tmp_path / "second").mkdir()
    longer = prepare(tmp_path / "second", 30)
    (longer.folder / "tokens-k").mkdir()
    (longer.folder / "tokens-k" / "tokens.arrow").write_bytes(content)
    with pytest.raises(StorageError, match="holds tokens of 20 rows, the data have 30"):
        encode_rows(longer, Letters(), key="k")
