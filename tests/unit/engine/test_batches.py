from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfray.engine.batches import POOL_BATCHES, collate, dealt, epoch_batches, evaluation_batches, share, steps_per_epoch
from lfray.rows import from_lists

CPU = torch.device("cpu")
counts = st.integers(1, 300)
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


def lengths_of(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng(count).integers(1, 60, count)


@given(counts, sizes, seeds, st.integers(0, 50))
def test_an_epoch_passes_over_every_row_once(count: int, batch_rows: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths_of(count), batch_rows, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert len(batches) == steps_per_epoch(count, batch_rows)
    assert sorted(len(batch) for batch in batches)[1:] == [batch_rows] * (len(batches) - 1)


def order(seed: int, epoch: int) -> list[list[int]]:
    return [batch.tolist() for batch in epoch_batches(lengths_of(200), 8, seed=seed, epoch=epoch)]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    np.random.default_rng(0).random()
    assert order(13, 2) == order(13, 2)
    assert len({str(order(seed, epoch)) for seed in (13, 42) for epoch in (0, 1, 13, 42)}) == 8


def test_order_is_what_it_always_was() -> None:
    batches = epoch_batches(np.array([3, 1, 2, 5, 4, 1, 9]), 3, seed=13, epoch=1)
    assert [batch.tolist() for batch in batches] == GOLDEN


GOLDEN = [[6], [1, 5, 2], [0, 4, 3]]
"""Frozen: another order is another result under the same id (then CODE_SCHEMA must rise)."""


def test_rows_of_a_batch_have_nearly_one_length_yet_order_stays_random() -> None:
    lengths = lengths_of(2000)
    batches = epoch_batches(lengths, 16, seed=0, epoch=0)
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert padded < 1.05 * lengths.sum()
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2
    # A row's neighbours come from its pool of 32 batches only, so another epoch brings others.
    assert POOL_BATCHES * 16 < 2000


@given(counts, sizes)
def test_evaluation_passes_over_every_row_once_the_longest_first(count: int, batch_rows: int) -> None:
    lengths = lengths_of(count)
    order = np.concatenate(list(evaluation_batches(lengths, batch_rows)))
    assert sorted(order.tolist()) == list(range(count))
    assert (np.diff(lengths[order]) <= 0).all()


LISTS = [[5, 6, 7], [8], [9, 10]]


def test_rows_are_padded_on_the_right_to_the_longest_of_them() -> None:
    rows = from_lists(LISTS, np.array([0, 1, 2]), {"prompt": np.array([3, 1, 2])})
    batch = collate(rows, np.array([2, 1]), pad_id=99, device=CPU)
    assert batch.inputs["input_ids"].tolist() == [[9, 10], [8, 99]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch.inputs.keys() == {"input_ids", "attention_mask"}
    assert {tensor.dtype for tensor in batch.inputs.values()} == {torch.int64}
    assert batch.label.tolist() == [2, 1]
    assert batch.extra["prompt"].tolist() == [2, 1]
    assert batch.tokens == 3


def test_token_types_follow_their_tokens() -> None:
    rows = replace(from_lists(LISTS, np.zeros(3, np.int64)), token_types=np.array([0, 0, 1, 1, 0, 1], dtype=np.int8))
    batch = collate(rows, np.array([0, 1, 2]), pad_id=99, device=CPU)
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=9), min_size=1, max_size=12), st.randoms())
def test_padding_can_be_taken_off_again(lists: list[list[int]], random: np.random.Generator) -> None:
    rows = from_lists(lists, np.zeros(len(lists), np.int64))
    index = np.array([random.choice(range(len(lists))) for _ in range(5)])
    batch = collate(rows, index, pad_id=0, device=CPU)
    taken = [
        ids[mask.bool()].tolist() for ids, mask in zip(batch.inputs["input_ids"], batch.inputs["attention_mask"], strict=True)
    ]
    assert taken == [lists[i] for i in index]


@pytest.mark.parametrize(("rows", "batch", "steps"), [(1, 16, 1), (16, 16, 1), (17, 16, 2)])
def test_the_last_update_may_be_smaller(rows: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(rows, batch) == steps


gangs = st.integers(1, 9)


@given(counts, sizes, gangs, seeds)
def test_an_update_is_shared_out_to_the_last_row(count: int, micro_batch: int, size: int, seed: int) -> None:
    index = np.random.default_rng(seed).permutation(10 * count)[:count]
    shares = [share(index, micro_batch, rank=rank, size=size) for rank in range(size)]
    real = np.concatenate([cut[:counted] for mine in shares for cut, counted in mine])
    assert sorted(real.tolist()) == sorted(index.tolist())
    # Every rank goes into its collectives equally often, with rows to pass every time, and no oftener than the fullest must.
    most = max(sum(counted for _, counted in mine) for mine in shares)
    assert {len(mine) for mine in shares} == {-(-most // micro_batch)}
    assert all(1 <= len(cut) <= micro_batch for mine in shares for cut, _ in mine)
    assert all(counted in (0, len(cut)) for mine in shares for cut, counted in mine)
    held = [sum(counted for _, counted in mine) for mine in shares]
    assert max(held) - min(held) <= 1


@given(counts, sizes)
def test_one_rank_has_the_update_cut_in_order(count: int, micro_batch: int) -> None:
    index = np.arange(count) * 3
    cuts = share(index, micro_batch, rank=0, size=1)
    assert np.concatenate([cut for cut, _ in cuts]).tolist() == index.tolist()
    assert all(counted == len(cut) for cut, counted in cuts)
    assert [len(cut) for cut, _ in cuts[:-1]] == [micro_batch] * (len(cuts) - 1)


def test_ranks_get_rows_of_like_lengths() -> None:
    lengths = np.sort(lengths_of(64))
    tokens = [int(sum(lengths[cut].sum() for cut, _ in share(np.arange(64), 8, rank=rank, size=4))) for rank in range(4)]
    assert max(tokens) < 1.1 * min(tokens)


def test_a_rank_without_rows_passes_one_that_counts_nothing() -> None:
    shares = [share(np.array([7, 8, 9]), 1, rank=rank, size=2) for rank in range(2)]
    assert [[(cut.tolist(), counted) for cut, counted in mine] for mine in shares] == [
        [([7], 1), ([9], 1)],
        [([8], 1), ([7], 0)],
    ]


@given(counts, sizes, gangs)
def test_whole_batches_are_dealt_out_to_be_looked_at(count: int, batch_rows: int, size: int) -> None:
    batches = list(evaluation_batches(lengths_of(count), batch_rows))
    hands = [dealt(batches, rank=rank, size=size) for rank in range(size)]
    assert len({len(hand) for hand in hands}) == 1
    counted = [[batch.tolist() for batch, counts_too in hand if counts_too] for hand in hands]
    # Batch b is the (b // size)-th of rank b % size: where `score` looks for it.
    assert [counted[place % size][place // size] for place in range(len(batches))] == [batch.tolist() for batch in batches]
    assert sum(map(len, counted)) == len(batches)
    assert all(len(batch) == 1 for hand in hands for batch, counts_too in hand if not counts_too)


@pytest.mark.parametrize(("given_real", "expected"), [(None, 3), (2, 2), (0, 0)])
def test_only_the_real_rows_of_a_batch_count(given_real: int | None, expected: int) -> None:
    rows = from_lists(LISTS, np.zeros(3, np.int64))
    batch = collate(rows, np.arange(3), pad_id=0, device=CPU, real=given_real)
    assert batch.counted(torch.tensor([1.0, 2.0, 4.0])).tolist() == [1.0, 2.0, 4.0][:expected]
    assert len(batch.inputs["input_ids"]) == 3
