"""The `data` part of a sweep file: where rows come from, which groups people belong to, and how rows are split."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lfray.errors import did_you_mean
from lfray.spec.strict import Fraction, Items, Name, Positive, Refusal, Scalar, Strict


class ColumnsSpec(Strict):
    """Which columns hold what."""

    text: Name = "text"
    """Column of the text."""
    text_pair: Name | None = None
    """Second text, for pairs of sentences."""
    label: Name = "label"
    """Column of the label."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for at in ("text", "text_pair"):
            if getattr(self, at) == self.label:
                raise Refusal(
                    "must be another column than the label", at=at, remedy="A text that holds the label teaches nothing"
                )
        if self.text_pair == self.text:
            raise Refusal("must be another column than text", at="text_pair", remedy="Leave it out where rows have one text")
        return self


class GroupSpec(Strict):
    """One protected attribute: `column` partitions the rows, `flags` lets groups overlap."""

    column: Name | None = None
    """Column whose values are the groups."""
    names: Annotated[dict[str | int | bool, Name], Field(min_length=1)] | None = None
    """Value in the column -> name of the group. Default: the value itself. Values left out are refused."""
    flags: Annotated[dict[Name, Name], Field(min_length=1)] | None = None
    """Name of the group -> its boolean (0/1) column. A row may be in several groups, or in none."""
    missing: Name | None = None
    """Name of the group that takes rows without a value. Default: such rows are refused, never dropped."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.column is None and self.flags is None:
            raise Refusal("needs either column or flags", remedy="column: groups partition the rows; flags: groups overlap")
        if self.column is not None and self.flags is not None:
            raise Refusal("column and flags exclude each other", at="flags", remedy="Declare two attributes, one of each kind")
        if self.flags is not None and self.names is not None:
            raise Refusal("names applies to column only", at="names", remedy="The keys of flags are the groups' names")
        return self

    @property
    def columns(self) -> dict[tuple[str, ...], str]:
        """Where a column is named (path under the attribute) -> the column."""
        named: dict[tuple[str, ...], str] = {("flags", name): column for name, column in (self.flags or {}).items()}
        return named if self.column is None else {("column",): self.column}


class MinoritySpec(Strict):
    """The group that is downsampled."""

    group: Name
    """An attribute under `groups`."""
    value: str | int | bool = "auto"
    """A group of it; auto: the smallest of the full training set (a tie is refused)."""


class SplitsSpec(Strict):
    """Which rows train, select and test. A name takes that split of the source as it is; a fraction is cut from train."""

    train: Name | Annotated[Items[Name], Field(min_length=1)] | None = None
    """Default: every split of the source that validation and test do not name."""
    validation: Name | Fraction = 0.1
    """Rows that select and stop; never trained on."""
    test: Name | Fraction = 0.2
    """Rows that every measure is taken on; the same for the whole sweep."""

    @property
    def named(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Every split of the source that is named, with the path (under `splits`) that names it."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for role in ("train", "validation", "test"):
            match getattr(self, role):
                case str() as name:
                    found.append(((role,), name))
                case tuple() as names:
                    found += [((role, index), name) for index, name in enumerate(names)]
        return found

    @model_validator(mode="after")
    def _apart(self) -> Self:
        seen: set[str] = set()
        for path, name in self.named:
            if name in seen:
                raise Refusal(
                    "a split may be used once", at=str(path[0]), got=name, remedy="Rows that are tested on must not be trained on"
                )
            seen.add(name)
        cut = [part for part in (self.validation, self.test) if isinstance(part, float)]
        if sum(cut) >= 1:
            raise Refusal(
                "validation and test must leave rows to train on", at="test", got=f"{sum(cut):g} of train", remedy="Cut less"
            )
        return self


class LimitSpec(Strict):
    """At most so many rows of a split (stratified, by split_seed; the same rows for the whole sweep)."""

    train: Positive | None = None
    """Training rows at most, before any downsampling."""
    validation: Positive | None = None
    """Validation rows at most."""
    test: Positive | None = None
    """Test rows at most."""


class DataSpec(Strict):
    """Rows, groups and splits."""

    source: Name
    """hub:<id>[@revision] | file:<path, folder or glob: csv tsv jsonl parquet, .gz too> | lab:<name>"""
    config: Name | None = None
    """Configuration of a hub data set."""
    columns: ColumnsSpec = ColumnsSpec()
    """Which columns hold what."""
    split_column: Name | None = None
    """Column that names each row's split. Default: the source's own splits; for files, the file name up to its first dot."""
    quoting: Literal["auto", "none", "minimal"] = "auto"
    """Quotes in csv and tsv files. auto: minimal (RFC 4180) for csv, none for tsv."""
    options: dict[str, Scalar] = Field(default_factory=dict)
    """Parameters of a `lab:` world (minority_share, shift_rank, majority_noise, minority_noise, ...)."""
    deduplicate: Literal["text", "columns", "none"] = "text"
    """Drop repeats before splitting. text: same text; columns: same text, label and groups."""
    conflicts: Literal["refuse", "drop"] = "refuse"
    """Same text, different labels. drop: all copies are left out, and counted."""
    groups: dict[Name, GroupSpec] = Field(min_length=1)
    """Attribute -> its groups: who is compared with whom."""
    minority: MinoritySpec | Literal["auto"] = "auto"
    """Whose training rows `downsampling_ratio` cuts. auto: the smallest group (needs a single attribute)."""
    splits: SplitsSpec = SplitsSpec()
    """Which rows train, select and test."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """One split for the whole sweep: `seed` never moves it."""
    limit: LimitSpec = LimitSpec()
    """At most so many rows of a split."""
    min_group_rows: Positive = 10
    """Groups with fewer evaluated rows leave worst-group values and differences, and are named."""
    max_tokens: Annotated[int, Field(ge=4, le=131072)] = 128
    """Longer texts are truncated, and counted."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        scheme = self.source.partition(":")[0]
        if scheme not in ("hub", "file", "lab") or not self.source.partition(":")[2]:
            raise Refusal(
                "must be hub:<id>, file:<path> or lab:<name>",
                at="source",
                remedy="A local file is file:<path>, from the sweep file",
            )
        if self.minority == "auto" and len(self.groups) > 1:
            raise Refusal(
                "minority: auto needs a single attribute under groups", at="minority",
                got=f"attributes {', '.join(self.groups)}", remedy="Name one: {group: ..., value: auto}",
            )  # fmt: skip
        if isinstance(self.minority, MinoritySpec) and self.minority.group not in self.groups:
            raise Refusal(
                "must be an attribute under data.groups",
                at="minority.group",
                remedy=did_you_mean(self.minority.group, self.groups),
            )
        if self.options and scheme != "lab":
            raise Refusal("options applies to lab: sources only", at="options", remedy="Remove it")
        if self.config is not None and scheme != "hub":
            raise Refusal("config applies to hub: sources only", at="config", remedy="Remove it")
        return self

    @property
    def minority_attribute(self) -> str:
        """The attribute whose group is downsampled and to which bare `fair.*` keys refer."""
        return self.minority.group if isinstance(self.minority, MinoritySpec) else next(iter(self.groups))
