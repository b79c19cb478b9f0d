from __future__ import annotations

from pathlib import Path

import pytest

from lfray.errors import SpecError
from lfray.spec.load import MAX_BYTES, load_sweep
from tests.unit.spec.builders import load, refused, sweep_text, write

SAMPLE = Path(__file__).parent / "sample.yaml"


def test_the_sample() -> None:
    loaded = load_sweep(SAMPLE, environ={})
    spec = loaded.spec
    assert spec.name == "sst2-gpt2-rank-ratio"
    assert spec.train.learning_rate == {"lora": 2e-4, "head": 1e-3, "full": 2e-5}
    assert spec.axes["downsampling_ratio"] == (1.0, 0.5, 0.2, 0.05)
    assert spec.data.groups["sentiment"].names == {0: "negative", 1: "positive"}
    assert spec.data.splits.validation == 0.1
    assert spec.methods.declared == ("head", "lora", "full")
    assert loaded.text == SAMPLE.read_text()
    assert loaded.folder == SAMPLE.parent
    assert loaded.line(("axes", "rank", 2)) == 22
    assert loaded.line(("train", "epochs", "nowhere")) == 25


def test_yes_and_on_are_text(tmp_path: Path) -> None:
    spec = load(tmp_path, task="{labels: [no, on, 1]}").spec
    assert spec.task.labels == ("no", "on", 1)


def test_all_problems_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = sweep_text(name="two words", train="{epochs: fast}", objective="[accuracy]", resources="{cpus: 2, gpus_per_trial: -1}")
    with pytest.raises(SpecError) as caught:
        load_sweep(write(tmp_path, text + "model: {base: hub:x}\n"), environ={})
    found = [(problem.line, problem.path) for problem in caught.value.problems]
    assert [line for line, _ in found] == sorted(line or 0 for line, _ in found)
    assert {path for _, path in found} == {
        "name", "train.epochs", "objective", "resources.cpus", "resources.gpus_per_trial", "model",
    }  # fmt: skip


def test_missing_fields_stand_at_their_parent(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, data="\n  groups: {g: {column: c}}\n  deduplicate: none")
    assert (problem.path, problem.line, problem.rule) == ("data.source", 3, "required field is missing")
    assert "hub:" in problem.remedy


def test_a_secret_stays_in_the_environment(tmp_path: Path) -> None:
    secret = "https://user:hunter2@host"
    loaded = load(tmp_path, {"URI": secret}, tracking='{uri: "${URI}"}')
    assert loaded.spec.tracking.uri == secret
    for kept in (loaded.text, str(loaded.document), repr(loaded)):
        assert "hunter2" not in kept


@pytest.mark.parametrize("value", ["hunter2", "12345", "[x", "1.5e9"])
@pytest.mark.parametrize("field", ["epochs", "schedule", "batch_size", "learning_rate", "adam_betas", "max_grad_norm"])
def test_a_secret_is_in_no_message(tmp_path: Path, value: str, field: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, {"SECRET": value}, train=f"\n  {field}: -${{SECRET}}")
    assert "${SECRET}" in str(caught.value)
    assert value not in str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, sweep_text())
    monkeypatch.chdir(tmp_path.parent)
    loaded = load_sweep(Path(tmp_path.name) / "sweep.yaml", environ={})
    assert loaded.resolve("rows.csv") == tmp_path / "rows.csv"
    assert loaded.resolve("/rows.csv") == Path("/rows.csv")


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + sweep_text().replace("\n", "\r\n").encode())
    assert load_sweep(path, environ={}).spec.name == "small"


def _absent(folder: Path) -> Path:
    write(folder, sweep_text())
    return folder / "swep.yaml"


def _large(folder: Path) -> Path:
    return write(folder, "#" * (MAX_BYTES + 1))


def _latin(folder: Path) -> Path:
    path = folder / "sweep.yaml"
    path.write_bytes(b"version: 1\nname: caf\xe9\n")
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_absent, "there is no such file. Did you mean 'sweep.yaml'?"),
        (lambda folder: folder, "a sweep is a file (got a folder)"),
        (_large, "at most 1,000,000 bytes"),
        (_latin, ":2: a sweep file is UTF-8 (got byte 0xe9)"),
        (lambda folder: folder / "none" / "x.yaml", "there is no such file"),
    ],
)
def test_what_is_no_sweep_file(tmp_path: Path, make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(SpecError) as caught:
        load_sweep(make(tmp_path), environ={})
    assert said in str(caught.value)


def test_a_large_file_is_refused_in_time(tmp_path: Path) -> None:
    """Just under the bound and one big list: refused by the count of values, not read for minutes."""
    with pytest.raises(SpecError, match="20000 values"):
        load_sweep(write(tmp_path, "a: [" + "1," * 150_000 + "1]"), environ={})
