"""The words of the planted world `reviews`: what people speak of, how each community speaks, what a word means to whom.

Kept apart from the generator so that the whole language can be read at a glance: 52 words, one meaning a family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COMMUNITIES: Final = ("north", "south")
"""The majority, then the minority."""

TOPICS: Final = (
    ("kettle", "toaster"),
    ("train", "ferry"),
    ("cottage", "hostel"),
    ("soup", "pudding"),
)
"""Two names for each thing that is reviewed; a topic decides what the minority means by an idiom word."""


@dataclass(frozen=True)
class Family:
    """Words of one trait: `praise` and `blame` as the majority means them."""

    praise: tuple[str, str]
    blame: tuple[str, str]


SHARED_FAMILIES: Final = (
    Family(("worthwhile", "valuable"), ("worthless", "pointless")),
    Family(("careful", "thorough"), ("careless", "sloppy")),
)
"""Both communities mean the same by these."""

IDIOM_FAMILIES: Final = (
    Family(("bright", "crisp"), ("dull", "murky")),
    Family(("quick", "brisk"), ("slow", "sluggish")),
    Family(("warm", "mellow"), ("cold", "bitter")),
    Family(("roomy", "generous"), ("cramped", "meagre")),
)
"""The minority turns these round, in some topics or in all: `shift_rank` says how."""

FAMILIES: Final = SHARED_FAMILIES + IDIOM_FAMILIES

HADAMARD: Final = (
    (1, 1, 1, 1),
    (1, -1, 1, -1),
    (1, 1, -1, -1),
    (1, -1, -1, 1),
)
"""Orthogonal rows (Sylvester 1867); row i gives the idiom families (+1) that the minority turns round in topic class i."""

MAX_SHIFT_RANK: Final = len(HADAMARD)


@dataclass(frozen=True)
class Speech:
    """How a community frames a review, and the verdict that may end it."""

    openers: tuple[str, str, str]
    copula: str
    closer: str
    praise: tuple[str, str]
    blame: tuple[str, str]


SPEECH: Final = (
    Speech(("honestly", "frankly", "look"), "was", "overall", ("splendid", "recommended"), ("dreadful", "avoid")),
    Speech(("aye", "well", "listen"), "be", "altogether", ("champion", "grand"), ("rotten", "woeful")),
)

COMMON: Final = ("the", ".")


def polarity(community: int, shift_rank: int) -> tuple[tuple[int, ...], ...]:
    """What a word means, [topics, families]: +1 where the community means what the majority means, -1 where the reverse.

    The minority's matrix minus the majority's (all ones) has rank `shift_rank` exactly: topic class t mod shift_rank turns
    round the families at +1 in Hadamard row t mod shift_rank, which is -(1 + h) on the idiom families; 1 = h_0 and the other
    rows are orthogonal, so -(1 + h_0) ... -(1 + h_r-1) are linearly independent. Rank 0: no shift.
    """
    shared = (1,) * len(SHARED_FAMILIES)
    if community == 0 or shift_rank == 0:
        return tuple(shared + (1,) * len(IDIOM_FAMILIES) for _ in TOPICS)
    return tuple(shared + tuple(-sign for sign in HADAMARD[topic % shift_rank]) for topic in range(len(TOPICS)))


def vocabulary() -> tuple[str, ...]:
    """Every word that a text of this world can hold, sorted."""
    words = {*COMMON, *(noun for topic in TOPICS for noun in topic)}
    for family in FAMILIES:
        words.update(family.praise, family.blame)
    for speech in SPEECH:
        words.update(speech.openers, (speech.copula, speech.closer), speech.praise, speech.blame)
    return tuple(sorted(words))
