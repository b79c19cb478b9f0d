from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lfray.errors import ModelError
from lfray.model.encode import TextEncoder, answer_ids, encoding_key
from lfray.model.folder import load_tokenizer
from lfray.space.trial import TaskConfig
from tests.unit.model.tiny import TEXTS

if TYPE_CHECKING:
    from tests.unit.model.tiny import Bases

SEQUENCE = TaskConfig(head="sequence", class_names=("neg", "pos"), positive=1)


def verbalizer(template: str = "{text}\nAnswer:", answers: tuple[str, ...] = ("bad", "good")) -> TaskConfig:
    return TaskConfig(
        head="verbalizer", class_names=("neg", "pos"), positive=1, template=template, answers=answers, scoring="compare"
    )


def text_of(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


def test_texts_are_encoded_as_the_tokenizer_would(bases: Bases) -> None:
    tokenizer = load_tokenizer(bases.bert)
    found = TextEncoder(tokenizer, SEQUENCE, 64)(TEXTS, None)
    assert found.input_ids == [tokenizer(text)["input_ids"] for text in TEXTS]
    assert found.token_type_ids == [[0] * len(ids) for ids in found.input_ids]
    assert found.truncated == [False] * len(TEXTS)
    assert [ids[0] for ids in found.input_ids] == [2] * len(TEXTS)


def test_pairs_have_token_types(bases: Bases) -> None:
    found = TextEncoder(load_tokenizer(bases.bert), SEQUENCE, 64)(["good film"], ["bad"])
    assert found.token_type_ids == [[0, 0, 0, 0, 1, 1]]


def test_a_long_text_is_cut_and_marked(bases: Bases) -> None:
    tokenizer = load_tokenizer(bases.bert)
    found = TextEncoder(tokenizer, SEQUENCE, 6)(TEXTS, None)
    assert [len(ids) for ids in found.input_ids] == [5, 3, 6, 3]
    assert found.truncated == [False, False, True, False]
    assert found.input_ids[2] == tokenizer(TEXTS[2], truncation=True, max_length=6)["input_ids"]


def test_a_text_without_a_token_becomes_one_that_stands_for_nothing(bases: Bases) -> None:
    found = TextEncoder(load_tokenizer(bases.gpt2), SEQUENCE, 8)(["", "ok"], None)
    assert found.input_ids[0] == [256]
    assert TextEncoder(load_tokenizer(bases.gpt2), verbalizer("{text}"), 8)([""], None).input_ids == [[256]]


def test_the_template_is_filled(bases: Bases) -> None:
    tokenizer = load_tokenizer(bases.gpt2)
    encoder = TextEncoder(tokenizer, verbalizer("Q: {text} | {text_pair}\nA:"), 64)
    found = encoder(["one", "{text_pair}"], ["two", "{text}"])
    assert [text_of(tokenizer, ids) for ids in found.input_ids] == ["Q: one | two\nA:", "Q: {text_pair} | {text}\nA:"]
    assert found.token_type_ids is None


@pytest.mark.parametrize("max_tokens", [20, 25, 40])
def test_a_long_text_is_shortened_never_the_template_nor_the_answer(bases: Bases, max_tokens: int) -> None:
    tokenizer = load_tokenizer(bases.gpt2)
    found = TextEncoder(tokenizer, verbalizer(), max_tokens)([TEXTS[2], "ok"], None)
    room = max_tokens - len(" good")
    prompts = [text_of(tokenizer, ids) for ids in found.input_ids]
    assert prompts == [TEXTS[2][: room - len("\nAnswer:")] + "\nAnswer:", "ok\nAnswer:"]
    assert found.truncated == [True, False]


@pytest.mark.parametrize("text", ["\U0001f600" * 10, "abc\U0001f600", "x" + "é" * 12, "日本" * 5])
@pytest.mark.parametrize("room", [1, 2, 3, 5, 7])
def test_cutting_inside_a_character_comes_to_an_end(bases: Bases, text: str, room: int) -> None:
    tokenizer = load_tokenizer(bases.gpt2)
    (ids,) = TextEncoder(tokenizer, verbalizer("{text}|"), room + 1 + len(" good"))([text], None).input_ids
    kept = text_of(tokenizer, ids).removesuffix("|")
    assert text.startswith(kept)
    assert len(kept.encode()) <= room
    # As much is kept as whole characters allow.
    assert kept == text or len(text[: len(kept) + 1].encode()) > room


def test_a_text_of_replacement_characters_comes_to_an_end(bases: Bases) -> None:
    encoder = TextEncoder(load_tokenizer(bases.gpt2), verbalizer("{text}|"), 10)
    assert len(encoder(["\ufffd" * 9], None).input_ids[0]) <= 5


def test_a_template_that_leaves_no_room_is_refused(bases: Bases) -> None:
    encoder = TextEncoder(load_tokenizer(bases.gpt2), verbalizer(), 10)
    with pytest.raises(ModelError, match=r"the template alone needs 8 tokens \(room for 5\)"):
        encoder(["ok"], None)


def test_answers_continue_the_prompt(bases: Bases) -> None:
    tokenizer = load_tokenizer(bases.gpt2)
    for template, lead in (("{text}:", " "), ("{text}: ", ""), ("{text}\n", "")):
        found = answer_ids(tokenizer, verbalizer(template))
        assert [text_of(tokenizer, ids) for ids in found] == [f"{lead}bad", f"{lead}good"]
    assert not any(256 in ids for ids in answer_ids(tokenizer, verbalizer()))


@pytest.mark.parametrize("answers", [("good", "good"), ("good", "goodness"), ("goodness", "good"), ("good ", "good")])
def test_answers_that_start_one_another_are_refused(bases: Bases, answers: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match="must not start one another"):
        answer_ids(load_tokenizer(bases.gpt2), verbalizer(answers=answers))


def test_the_key_of_a_table_moves_with_all_it_depends_on() -> None:
    keys = [
        encoding_key("a", SEQUENCE, 8), encoding_key("b", SEQUENCE, 8), encoding_key("a", SEQUENCE, 9),
        encoding_key("a", verbalizer(), 8), encoding_key("a", verbalizer("{text}"), 8),
        encoding_key("a", verbalizer(answers=("no", "yes")), 8),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert encoding_key("a", SEQUENCE.model_copy(update={"class_names": ("x", "y")}), 8) == keys[0]
