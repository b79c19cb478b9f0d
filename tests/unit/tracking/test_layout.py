"""Keys, values and times, against MLflow's own validators as the oracle."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from lfray import names
from lfray.names import MetricKey
from lfray.record import CurvePoint
from lfray.tracking import layout
from tests.contract.builders import make_config, make_failure, make_record

ANY_TEXT = st.text(max_size=300)


@given(ANY_TEXT)
def test_every_key_is_taken_by_mlflow(key: str) -> None:
    safe = layout.safe_key(key)
    assert len(safe) <= 250
    _validate_param_name(safe)
    _validate_tag_name(safe)


@given(ANY_TEXT, ANY_TEXT)
def test_keys_do_not_meet(one: str, other: str) -> None:
    assert (layout.safe_key(one) == layout.safe_key(other)) == (one == other)


@pytest.mark.parametrize("pair", [("a//b", "a/b"), ("a/", "a"), ("", ":"), ("..", "a"), ("/a", "a"), (".a", "a"), ("a/.", "a")])
def test_keys_that_paths_would_join_do_not_meet(pair: tuple[str, str]) -> None:
    assert layout.safe_key(pair[0]) != layout.safe_key(pair[1])


@given(st.text(max_size=200), st.text(max_size=200))
def test_metric_keys_of_any_group_are_taken(attribute: str, group: str) -> None:
    key = layout.shorten(MetricKey(names.ACCURACY, attribute=attribute, group=group).text())
    assert len(key) <= 250
    _validate_metric_name(key)
    _validate_tag_name(layout.shorten(f"undefined.{key}"))


def test_short_keys_stay_as_they_are() -> None:
    for key in ("train.epochs", "fair.worst_group_accuracy/a/b", "a b-c_d"):
        assert layout.safe_key(key) == layout.shorten(key) == key


def test_long_keys_that_differ_at_the_end_stay_apart() -> None:
    assert layout.shorten("k" * 400) != layout.shorten("k" * 401)


@pytest.mark.parametrize(("text", "limit", "expected"), [("abc", 3, "abc"), ("abcdef", 5, "ab...")])
def test_clip(text: str, limit: int, expected: str) -> None:
    assert layout.clip(text, limit) == expected


@pytest.mark.parametrize(
    ("iso", "expected"),
    [
        ("1970-01-01T00:00:01+00:00", 1000),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01T01:00:00.250+01:00", 250),
    ],
)
def test_milliseconds(iso: str, expected: int) -> None:
    assert layout.milliseconds(iso) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3.0, "3"), (0.2, "0.2"), (2e-05, "2e-05"), (1e300, "1e+300"), (True, "true"), (8, "8"), ("x", "x"), (math.inf, "inf")],
)
def test_plain_numbers(value: object, expected: str) -> None:
    assert layout.plain(value) == expected


def test_flatten() -> None:
    tree = {"a": {"b": 1.0, "c": None, "d": {}}, "e": [1, 2.5, "x"], "f": False}
    assert layout.flatten(tree) == {"a.b": "1", "e": "1, 2.5, x", "f": "false"}


def test_params_leave_out_what_a_method_has_not() -> None:
    lora, head, full = (layout.trial_params(make_config(rank=rank), {}) for rank in (8, 0, None))
    assert (lora["method_label"], lora["rank"], lora["alpha"], lora["scale"]) == ("lora-r8", "8", "16", "2")
    assert (head["method_label"], head["rank"]) == ("head", "0")
    assert full["method_label"] == "full"
    assert "rank" not in full
    assert "alpha" not in head
    assert lora["minority"] == "community=b"


def test_what_differs_between_trials_stands_in_their_params() -> None:
    one = layout.trial_params(make_config(), {"base": "x"})
    other = layout.trial_params(make_config(seed=14, ratio=0.5, rank=2), {"base": "x"})
    assert {key for key in one if one[key] != other[key]} == {"rank", "alpha", "method_label", "downsampling_ratio", "seed"}


def test_curve_values_leave_out_what_is_not_known() -> None:
    assert layout.curve_values(CurvePoint(1, 0.1, math.nan, 1e-3, None, 0.5)) == {
        "train.learning_rate": 1e-3,
        "train.validation_accuracy": 0.5,
    }
    assert set(layout.curve_values(CurvePoint(1, 0.1, 1.0, 1e-3, 0.5, 0.5))) == set(layout.CURVE_KEYS)


def test_metrics_and_undefined_tags_share_out_the_record() -> None:
    record = make_record(make_config())
    metrics, tags = layout.record_metrics(record), layout.record_tags(record)
    undefined = {key.removeprefix("undefined.") for key in tags if key.startswith("undefined.")}
    assert metrics.keys() | undefined == record.metrics().keys()
    assert not metrics.keys() & undefined
    assert all(math.isfinite(value) for value in metrics.values())


def test_the_digest_tells_records_apart() -> None:
    config = make_config()
    record = make_record(config)
    assert layout.record_digest(record) == layout.record_digest(make_record(config))
    assert layout.record_digest(record) != layout.record_digest(make_record(config, failure=make_failure()))


@pytest.mark.parametrize("key", ["undefined.accuracy", layout.STATE, layout.FAILURE, layout.LOGGED])
def test_outcomes_are_replaced(key: str) -> None:
    assert layout.is_outcome(key)
    assert not layout.is_outcome(layout.TRIAL)


def test_dataset_sources() -> None:
    assert layout.dataset_source("hub:stanfordnlp/sst2@abc") == (
        "hugging_face",
        '{"path": "stanfordnlp/sst2", "revision": "abc"}',
    )
    assert layout.dataset_source("lab:reviews") == ("lfray", '{"uri": "lab:reviews"}')


def test_origin_names_the_commit_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "mlflow.source.git.commit" not in layout.origin_tags()
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.invalid", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    tags = layout.origin_tags()
    assert (tags["mlflow.source.git.commit"], tags["lfray.git_dirty"]) == (head, "false")
    (tmp_path / "file").write_text("2")
    assert layout.origin_tags()["lfray.git_dirty"] == "true"


def test_environment_lists_packages() -> None:
    lines = layout.environment_text().splitlines()
    assert lines[0] == f"python=={sys.version.split()[0]}"
    assert any(line.startswith("mlflow==") for line in lines)
