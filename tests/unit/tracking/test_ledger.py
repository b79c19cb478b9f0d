"""Only what is missing is sent, within MLflow's limits a call."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from lfray.tracking import layout
from lfray.tracking.ledger import Ledger, Row, found_again
from tests.contract.builders import make_curve

TEXTS = st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=250)


def rows(count: int) -> list[Row]:
    return [Row(f"m{index}", float(index), 0, 0) for index in range(count)]


@given(TEXTS, TEXTS, st.integers(0, 2500))
def test_batches_hold_everything_once_and_keep_the_limits(params: dict[str, str], tags: dict[str, str], count: int) -> None:
    ledger = Ledger("run", 0)
    batches = list(ledger.missing(params, tags, rows(count)))
    assert [text for batch in batches for text in batch.params] == list(params.items())
    assert [text for batch in batches for text in batch.tags] == list(tags.items())
    assert [row for batch in batches for row in batch.rows] == rows(count)
    for batch in batches:
        assert len(batch.params) <= 100
        assert len(batch.tags) <= 100
        assert len(batch.params) + len(batch.tags) + len(batch.rows) <= 1000
        ledger.sent(batch)
    assert list(ledger.missing(params, tags, [])) == []


def test_long_values_are_spread_over_calls() -> None:
    params = {f"p{index}": "v" * 6000 for index in range(30)}
    batches = list(Ledger("run", 0).missing(params, {}, []))
    assert max(sum(len(key) + len(value) for key, value in batch.params) for batch in batches) <= 30_000
    assert sum(len(batch.params) for batch in batches) == 30


def test_a_call_fits_into_a_request_at_its_worst() -> None:
    """12 bytes a character is the longest JSON form (a surrogate pair, escaped)."""
    text = {f"{index}": "\U0001f600" * 8000 for index in range(20)}
    (batch, *_) = Ledger("run", 0).missing(text, text, [Row("k" * 250, 0.1, 10**13, 0)] * 800)
    size = sum(12 * len(value) for _, value in (*batch.params, *batch.tags)) + 800 * 330
    assert size < 10**6


def test_logged_params_stay_and_tags_move() -> None:
    ledger = Ledger("run", 0, params={"a": "1"}, tags={"t": "1", "u": "1"})
    (batch,) = ledger.missing({"a": "2", "b": "3"}, {"t": "2", "u": "1"}, [])
    assert (batch.params, batch.tags, batch.rows) == ([("b", "3")], [("t", "2")], ())


def test_stale_params() -> None:
    ledger = Ledger("run", 0, params={"a": "1", "b": "1", "c": "1"}, tags={"lfray.now.c": "2"})
    assert ledger.stale_params({"a": "1", "b": "2", "c": "1", "d": "1"}) == {"lfray.now.b": "2", "lfray.now.c": "1"}


def test_steps_are_sent_once() -> None:
    ledger = Ledger("run", 1000)
    curve = make_curve()
    for part in (curve[:5], curve, curve):
        for batch in ledger.missing({}, {}, ledger.new_steps(part)):
            ledger.sent(batch)
    assert ledger.steps["train.loss"] == {point.step for point in curve}
    assert ledger.new_steps(curve) == []
    assert ledger.metrics["train.loss"] == curve[-1].loss


def test_time_of_a_step_follows_from_the_start() -> None:
    (row, *_) = Ledger("run", 1000).new_steps(make_curve()[1:2])
    assert row == Row("train.loss", make_curve()[1].loss, 1000 + 5 * 1000, 5)


def test_a_run_found_again() -> None:
    data = SimpleNamespace(params={"a": "1"}, tags={layout.LOGGED: "x"}, metrics={"m": 1.0})
    ledger = found_again(SimpleNamespace(info=SimpleNamespace(run_id="r", start_time=5), data=data))
    assert (ledger.run_id, ledger.start_ms, ledger.logged, ledger.loaded) == ("r", 5, "x", False)
    assert (ledger.params, ledger.metrics) == ({"a": "1"}, {"m": 1.0})
