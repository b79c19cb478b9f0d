"""`lab:` worlds: planted data that needs no network and whose best possible accuracy is known.

A review is written so: a community and a hidden sentiment are drawn, then a topic, then three families of words;
each family's word expresses the sentiment with probability AGREEMENT, else the opposite; the label is the sentiment, turned
over with the community's label noise. Given the sentiment, words are independent, so the posterior of the label is a product
that is computed exactly for every row, and with it the Bayes-optimal accuracy of each group.

The minority turns the meaning of idiom words round, topic by topic. The topics x families matrix of that shift has rank
`shift_rank` exactly (`lab_words.polarity`), so what an adapter must add to a model of the majority's language has a known
intrinsic rank.

Unlabelled text, for a base model, is majority-heavy, and most of it ends in a verdict word, which is what makes sentiment
worth learning for a language model. In it the minority uses idiom words without regard to what it thinks, and now and then
the majority's verdict words ironically. So what a base can know of the minority is bounded by design (the shared words),
not by how far along a steep learning curve its training happened to stop. Measured for five seeds of `gpt2-tiny`: the
minority's own verdict is read at .78-.84 from half of the training on; a base that could learn the idiom stood anywhere from
.50 to .87 after the same time.

Only `random.Random.random()` is drawn from: Python promises its sequence for all versions, numpy does not for its draws.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from lfray.data.lab_words import COMMUNITIES, FAMILIES, MAX_SHIFT_RANK, SHARED_FAMILIES, SPEECH, TOPICS, polarity, vocabulary
from lfray.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from lfray.spec.stages import Scalar

LAB_WORLDS: Final = ("reviews",)

AGREEMENT: Final = 0.95
"""Probability that a word expresses the review's sentiment."""
WORDS: Final = 3
"""Opinion words in a review, each of another family; odd, so the evidence is never even."""
UNLABELLED_MINORITY_SHARE: Final = 0.35
VERDICT_RATE: Final = 0.9
"""Share of unlabelled reviews that end in a verdict word. Without them a small model learns word counts only."""
IRONY: Final = 0.15
"""Share of the minority's verdicts that use the majority's verdict words, turned round: the majority's direction then misleads
on the minority, so a head that saw few minority rows is worse for them than one that saw many."""
RESERVED: Final = 4
"""One text in four (by CRC-32) is for unlabelled text only: no labelled text is ever part of a base's training, whatever the
options, and the base stays the same for all of them. A rule on the text alone leaves the posterior as it is."""


@dataclass(frozen=True)
class ReviewOptions:
    """Parameters of the world `reviews`."""

    rows: int = 3000
    """Training rows."""
    test_rows: int = 3000
    """Test rows, half of each community: both accuracies then have a standard error of .006 at .95, .01 at .8."""
    minority_share: float = 0.3
    """Share of the training rows."""
    majority_noise: float = 0.05
    minority_noise: float = 0.05
    """Share of labels that are turned over."""
    shift_rank: int = 2
    """Rank of the shift in meaning between the communities; 0: none."""
    seed: int = 0


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "rows": (40, 50_000),
    "test_rows": (40, 50_000),
    "minority_share": (0.01, 0.5),
    "majority_noise": (0.0, 0.49),
    "minority_noise": (0.0, 0.49),
    "shift_rank": (0, MAX_SHIFT_RANK),
    "seed": (0, 2**63 - 1),
}
"""Both ends included. There are 138,000 different labelled texts a community, so 75,000 are drawn without much ado."""


@dataclass(frozen=True)
class LabWorld:
    """A planted data set and what is known of it."""

    name: str
    options: ReviewOptions
    rows: dict[str, list[str | int]]
    """Columns of equal length: `text`, `label` (0 negative, 1 positive), `community`, `split` (train or test). No text occurs
    twice."""
    bayes_accuracy: dict[str, float]
    """Community -> expected accuracy of the best possible classifier on the test texts, over the draw of their labels."""
    bayes_rule_accuracy: dict[str, float]
    """Community -> what that same classifier scores on the labels as drawn: what a perfect model would measure here."""
    vocabulary: tuple[str, ...]
    """Every word of the world, sorted."""

    def unlabelled(self, count: int, seed: int) -> list[str]:
        """`count` texts to train a base model on; no text is one of `rows`, no label is in them, options do not move them."""
        return unlabelled_reviews(count, seed)


@dataclass(frozen=True)
class _Review:
    text: str
    sentiment: int
    positive_probability: float
    """P(sentiment is positive | text), before label noise."""


def lab_world(name: str, options: Mapping[str, Scalar]) -> LabWorld:
    """The planted world of that name, the same on every machine.

    Args:
        name: What stands after `lab:`.
        options: Fields of `ReviewOptions`; absent ones take their default.

    Raises:
        DataError: The name or an option is unknown, or a value is of the wrong type or out of range.
    """
    if name not in LAB_WORLDS:
        raise DataError(f"data.source: lab:{name} is not a planted world. {did_you_mean(name, LAB_WORLDS)}")
    chosen = _options(options)
    rows: dict[str, list[str | int]] = {"text": [], "label": [], "community": [], "split": []}
    expected: dict[str, float] = {}
    realised: dict[str, float] = {}
    minority = max(1, round(chosen.rows * chosen.minority_share))
    seen: set[str] = set()
    for split, counts in (
        ("train", (chosen.rows - minority, minority)),
        ("test", (chosen.test_rows - chosen.test_rows // 2, chosen.test_rows // 2)),
    ):
        for community, count in enumerate(counts):
            drawn = _labelled(chosen, split, community, count, seen)
            rows["text"] += [text for text, _, _ in drawn]
            rows["label"] += [label for _, label, _ in drawn]
            rows["community"] += [COMMUNITIES[community]] * count
            rows["split"] += [split] * count
            if split == "test":
                expected[COMMUNITIES[community]] = sum(max(p, 1 - p) for _, _, p in drawn) / count
                realised[COMMUNITIES[community]] = sum(label == int(p > 0.5) for _, label, p in drawn) / count
    return LabWorld(name, chosen, rows, expected, realised, vocabulary())


def unlabelled_reviews(count: int, seed: int) -> list[str]:
    """`count` reviews for a language model: `UNLABELLED_MINORITY_SHARE` by the minority, `VERDICT_RATE` with a verdict."""
    rng = random.Random(f"lab:reviews:unlabelled:{seed}")
    texts: list[str] = []
    while len(texts) < count:
        community = int(rng.random() < UNLABELLED_MINORITY_SHARE)
        review = _review(rng, community, None)
        ends, ironic, word = rng.random() < VERDICT_RATE, rng.random() < IRONY, _below(rng, 2)
        if not _reserved(review.text):
            continue
        if ends and community == 1 and ironic:
            verdict = _verdicts(0, 1 - review.sentiment)[word]
        else:
            verdict = _verdicts(community, review.sentiment)[word]
        texts.append(f"{review.text} {verdict}" if ends else review.text)
    return texts


def _labelled(options: ReviewOptions, split: str, community: int, count: int, seen: set[str]) -> list[tuple[str, int, float]]:
    """(text, label, P(label = 1 | text)) of `count` new texts.

    Each (split, community) has its own stream, and noise is one draw whatever its rate: so more rows extend fewer, and the
    texts of two worlds that differ in noise or share are the same.
    """
    rng = random.Random(f"lab:reviews:{split}:{COMMUNITIES[community]}:{options.seed}")
    noise = options.minority_noise if community else options.majority_noise
    drawn: list[tuple[str, int, float]] = []
    while len(drawn) < count:
        review = _review(rng, community, options.shift_rank)
        turned = rng.random() < noise
        if review.text in seen or _reserved(review.text):
            continue
        seen.add(review.text)
        p = review.positive_probability
        drawn.append((review.text, review.sentiment ^ turned, p * (1 - noise) + (1 - p) * noise))
    return drawn


def _review(rng: random.Random, community: int, shift_rank: int | None) -> _Review:
    """One review without verdict; `shift_rank` None: the minority's idiom words are drawn without regard to the sentiment."""
    sentiment, topic = _below(rng, 2), _below(rng, len(TOPICS))
    meaning = polarity(community, shift_rank or 0)[topic]
    evidence, words = 0, []
    for family in _sample(rng, len(FAMILIES), WORDS):
        praises = sentiment if rng.random() < AGREEMENT else 1 - sentiment
        if shift_rank is None and community == 1 and family >= len(SHARED_FAMILIES):
            praises = _below(rng, 2)
        else:
            evidence += 2 * praises - 1
        written = praises if meaning[family] > 0 else 1 - praises
        words.append((FAMILIES[family].praise if written else FAMILIES[family].blame)[_below(rng, 2)])
    speech = SPEECH[community]
    opener, noun = speech.openers[_below(rng, len(speech.openers))], TOPICS[topic][_below(rng, 2)]
    odds = (AGREEMENT / (1 - AGREEMENT)) ** evidence
    return _Review(f"{opener} the {noun} {speech.copula} {' '.join(words)} . {speech.closer}", sentiment, odds / (1 + odds))


def _verdicts(community: int, sentiment: int) -> tuple[str, str]:
    return SPEECH[community].praise if sentiment else SPEECH[community].blame


def _reserved(text: str) -> bool:
    return zlib.crc32(text.encode()) % RESERVED == 0


def _below(rng: random.Random, count: int) -> int:
    """A whole number in [0, count), from `random()` alone."""
    return int(rng.random() * count)


def _sample(rng: random.Random, population: int, count: int) -> list[int]:
    """`count` distinct numbers below `population`, in random order (Fisher-Yates, stopped early)."""
    items = list(range(population))
    for index in range(count):
        other = index + _below(rng, population - index)
        items[index], items[other] = items[other], items[index]
    return items[:count]


def _options(given: Mapping[str, Scalar]) -> ReviewOptions:
    """Typed, range-checked options."""
    known = {field.name: field.default for field in fields(ReviewOptions)}
    values: dict[str, int | float] = {}
    for key in sorted(given):
        value = given[key]
        if key not in known:
            raise DataError(f"data.options.{key}: unknown option of lab:reviews. {did_you_mean(key, known)}")
        wants_int = isinstance(known[key], int)
        if isinstance(value, (bool, str)) or (wants_int and not isinstance(value, int)):
            kind = "a whole number" if wants_int else "a number"
            raise DataError(f"data.options.{key}: must be {kind} (got {value!r})")
        low, high = _RANGES[key]
        if not low <= value <= high:
            raise DataError(f"data.options.{key}: must be in [{low:g}, {high:g}] (got {value})")
        values[key] = value if wants_int else float(value)
    return ReviewOptions(**values)  # type: ignore[arg-type]  # each value was checked against its field's type above
