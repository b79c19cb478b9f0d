from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfray.data import lab
from lfray.data.lab import LabWorld, lab_world
from lfray.data.lab_words import FAMILIES, HADAMARD, IDIOM_FAMILIES, MAX_SHIFT_RANK, SPEECH, TOPICS, polarity
from lfray.errors import DataError


@pytest.fixture(scope="module")
def world() -> LabWorld:
    return lab_world("reviews", {})


def pairs(world: LabWorld, split: str, community: str) -> list[tuple[str, int]]:
    columns = zip(world.rows["text"], world.rows["label"], world.rows["community"], world.rows["split"], strict=True)
    return [(str(text), int(label)) for text, label, group, part in columns if (part, group) == (split, community)]


def digest(world: LabWorld) -> str:
    return hashlib.sha256(json.dumps([world.rows, world.bayes_accuracy, world.unlabelled(50, 3)]).encode()).hexdigest()


def test_counts_and_columns(world: LabWorld) -> None:
    counted = Counter(zip(world.rows["split"], world.rows["community"], strict=True))
    assert counted == {
        ("train", "north"): 2100,
        ("train", "south"): 900,
        ("test", "north"): 1500,
        ("test", "south"): 1500,
    }
    assert sorted(world.rows) == ["community", "label", "split", "text"]
    assert set(world.rows["label"]) == {0, 1}
    assert len(set(world.rows["text"])) == 6000


def test_same_rows_whatever_the_hash_seed(world: LabWorld) -> None:
    code = (
        "import hashlib, json; from lfray.data.lab import lab_world; w = lab_world('reviews', {});"
        "print(hashlib.sha256(json.dumps([w.rows, w.bayes_accuracy, w.unlabelled(50, 3)]).encode()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == digest(world)


def test_every_word_is_in_the_vocabulary_and_every_word_is_used(world: LabWorld) -> None:
    labelled = {word for text in world.rows["text"] for word in str(text).split()}
    unlabelled = {word for text in world.unlabelled(2000, 0) for word in text.split()}
    assert labelled < set(world.vocabulary)
    assert unlabelled == set(world.vocabulary)


def test_no_labelled_text_is_in_the_unlabelled_text_and_options_do_not_move_it(world: LabWorld) -> None:
    other = lab_world("reviews", {"seed": 5, "shift_rank": 4, "minority_noise": 0.2})
    unlabelled = world.unlabelled(15_000, 0)
    assert other.unlabelled(15_000, 0) == unlabelled
    verdicts = {word for speech in SPEECH for word in (*speech.praise, *speech.blame)}
    stems = {" ".join(word for word in text.split() if word not in verdicts) for text in unlabelled}
    assert not stems & set(map(str, world.rows["text"]))
    assert not stems & set(map(str, other.rows["text"]))
    assert not any(word in verdicts for text in world.rows["text"] for word in str(text).split())


def test_unlabelled_text_is_majority_heavy_and_mostly_ends_in_a_verdict(world: LabWorld) -> None:
    texts = world.unlabelled(8000, 1)
    south = [text.split() for text in texts if text.split()[0] in SPEECH[1].openers]
    ends = [words[-1] for words in south if words[-1] != SPEECH[1].closer]
    borrowed = [word for word in ends if word in (*SPEECH[0].praise, *SPEECH[0].blame)]
    assert len(south) / 8000 == pytest.approx(lab.UNLABELLED_MINORITY_SHARE, abs=0.02)
    assert len(ends) / len(south) == pytest.approx(lab.VERDICT_RATE, abs=0.02)
    assert len(borrowed) / len(ends) == pytest.approx(lab.IRONY, abs=0.025)
    assert world.unlabelled(100, 1) == texts[:100]
    assert world.unlabelled(100, 2) != texts[:100]


@pytest.mark.parametrize("rank", range(MAX_SHIFT_RANK + 1))
def test_shift_has_the_rank_that_it_says(rank: int) -> None:
    shift = np.array(polarity(1, rank)) - np.array(polarity(0, rank))
    assert np.linalg.matrix_rank(shift) == rank
    assert shift.shape == (len(TOPICS), len(FAMILIES))
    assert (np.array(polarity(0, rank)) == 1).all()


def test_hadamard_rows_are_orthogonal() -> None:
    rows = np.array(HADAMARD)
    assert (rows @ rows.T == len(HADAMARD) * np.eye(len(HADAMARD))).all()
    assert rows.shape[1] == len(IDIOM_FAMILIES)


def posterior(text: str, community: int, rank: int, noise: float) -> float:
    """P(label = 1 | text) by summing the generator's probabilities over every hidden sentiment, from the words alone."""
    words = text.split()
    topic = next(index for index, nouns in enumerate(TOPICS) if words[2] in nouns)
    likelihood = {0: 1.0, 1: 1.0}
    for sentiment, word in itertools.product((0, 1), words[4 : words.index(".")]):
        family = next(i for i, family in enumerate(FAMILIES) if word in (*family.praise, *family.blame))
        says_praise = (word in FAMILIES[family].praise) == (polarity(community, rank)[topic][family] == 1)
        likelihood[sentiment] *= lab.AGREEMENT if says_praise == bool(sentiment) else 1 - lab.AGREEMENT
    positive = likelihood[1] / (likelihood[0] + likelihood[1])
    return positive * (1 - noise) + (1 - positive) * noise


@pytest.mark.parametrize("rank", [0, 2, 3])
def test_bayes_accuracy_is_that_of_the_posterior_over_the_test_rows(rank: int) -> None:
    world = lab_world("reviews", {"shift_rank": rank, "majority_noise": 0.02, "minority_noise": 0.2, "test_rows": 600})
    for community, (name, noise) in enumerate({"north": 0.02, "south": 0.2}.items()):
        rows = pairs(world, "test", name)
        probabilities = [posterior(text, community, rank, noise) for text, _ in rows]
        best = float(np.mean([max(p, 1 - p) for p in probabilities]))
        hits = float(np.mean([label == (p > 0.5) for p, (_, label) in zip(probabilities, rows, strict=True)]))
        assert world.bayes_accuracy[name] == pytest.approx(best, abs=1e-12)
        assert world.bayes_rule_accuracy[name] == pytest.approx(hits, abs=1e-12)


def test_bayes_accuracy_meets_its_closed_form_and_the_labels() -> None:
    noise, p = 0.1, lab.AGREEMENT
    world = lab_world("reviews", {"majority_noise": noise, "minority_noise": noise, "test_rows": 20_000})
    most_of_three = p**3 + 3 * p**2 * (1 - p)
    expected = most_of_three * (1 - noise) + (1 - most_of_three) * noise
    for name in ("north", "south"):
        assert world.bayes_accuracy[name] == pytest.approx(expected, abs=0.004)
        # standard error of 10,000 draws at .89: .003
        assert world.bayes_rule_accuracy[name] == pytest.approx(world.bayes_accuracy[name], abs=0.01)


def test_the_majoritys_rule_misleads_on_the_minority() -> None:
    world = lab_world("reviews", {"shift_rank": 1, "minority_noise": 0.0})
    rows = pairs(world, "test", "south")
    hits = [label == (posterior(text, 0, 0, 0.0) > 0.5) for text, label in rows]
    assert np.mean(hits) < 0.4


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(40, 300),
    share=st.floats(0.01, 0.5),
    noise=st.floats(0, 0.49),
    rank=st.integers(0, 4),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_option_in_range_gives_a_world(rows: int, share: float, noise: float, rank: int, seed: int) -> None:
    options = {"rows": rows, "test_rows": 40, "minority_share": share, "minority_noise": noise, "shift_rank": rank, "seed": seed}
    world = lab_world("reviews", options)
    assert len(pairs(world, "train", "south")) == max(1, round(rows * share))
    assert len(world.rows["text"]) == rows + 40
    assert 0.5 <= world.bayes_accuracy["south"] <= 1 - noise + 1e-12


def test_more_rows_extend_fewer_and_noise_moves_labels_only() -> None:
    small, large = (lab_world("reviews", {"rows": rows, "test_rows": 40}) for rows in (100, 400))
    for name in ("north", "south"):
        shown = pairs(small, "train", name)
        assert pairs(large, "train", name)[: len(shown)] == shown
    noisy = lab_world("reviews", {"rows": 400, "test_rows": 40, "majority_noise": 0.4})
    assert noisy.rows["text"] == large.rows["text"]
    assert noisy.rows["label"] != large.rows["label"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("review", {}, "Did you mean 'reviews'"),
        ("reviews", {"minority_shar": 0.2}, "Did you mean 'minority_share'"),
        ("reviews", {"rows": 100.0}, "data.options.rows: must be a whole number (got 100.0)"),
        ("reviews", {"rows": True}, "data.options.rows: must be a whole number (got True)"),
        ("reviews", {"minority_noise": "low"}, "data.options.minority_noise: must be a number (got 'low')"),
        ("reviews", {"minority_share": 0.6}, "data.options.minority_share: must be in [0.01, 0.5] (got 0.6)"),
        ("reviews", {"minority_noise": float("nan")}, "must be in [0, 0.49] (got nan)"),
        ("reviews", {"shift_rank": 5}, "data.options.shift_rank: must be in [0, 4] (got 5)"),
        ("reviews", {"seed": -1}, "data.options.seed: must be in [0, "),
    ],
)
def test_refusals(name: str, options: dict[str, int | float | str | bool], said: str) -> None:
    with pytest.raises(DataError) as caught:
        lab_world(name, options)
    assert said in str(caught.value)
