"""What the plan must know of the data and of the base model, found once before any trial starts.

The data folder and the model folder produce these; the plan reads them. They stand here because neither may import the other.
"""

from __future__ import annotations

from lfray.space.trial import Frozen


class AttributeFacts(Frozen):
    """One group attribute as found in the data. `rows` and `train_rows` are counts by group, over all rows and training rows."""

    attribute: str
    groups: tuple[str, ...]
    overlapping: bool
    is_label: bool
    """The label determines the group."""
    rows: dict[str, int]
    train_rows: dict[str, int]


class DataFacts(Frozen):
    """Prepared rows in numbers."""

    fingerprint: str
    """Over row ids, texts, labels, groups and splits, in canonical order: file order and column names do not matter."""
    class_names: tuple[str, ...]
    positive: int
    attributes: tuple[AttributeFacts, ...]
    minority_attribute: str
    minority_group: str
    split_rows: dict[str, int]
    split_manifests: dict[str, str]
    """Split -> hash of its sorted row ids."""
    counts: dict[str, int]
    """What preparation did: read, duplicates_dropped, conflicts_dropped, cross_split_dropped, limited, ..."""
    bayes_accuracy: dict[str, float]
    """Group -> accuracy that no classifier can beat, where the generator is known (lab); else empty."""
    mean_characters: float


class ModelFacts(Frozen):
    """The base model in numbers."""

    fingerprint: str
    folder: str
    """Local folder that transformers loads from."""
    trained_head: bool
    """The checkpoint brings a trained classification head."""
    parameters: int
    weight_bytes: int
    linear_extent: int
    """Sum of inputs and outputs over the linear weights: LoRA on all of them adds rank x this many parameters."""
    max_positions: int | None
