from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lfray.spec.model_checks import generates, read_config
from tests.unit.spec.builders import accepted, load, refused

if TYPE_CHECKING:
    from pathlib import Path

TRAINED = {"architectures": ["DistilBertForSequenceClassification"], "model_type": "distilbert"}
PLAIN = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
BASE = {"methods": "{base: {}, head: {}}"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def save(folder: Path, config: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


def cache(root: Path, config: object) -> None:
    repository = root / "models--someone--model"
    save(repository / "snapshots" / COMMIT, config)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


def test_a_trained_head_is_evaluated_as_it_is(tmp_path: Path) -> None:
    save(tmp_path / "m", TRAINED)
    assert accepted(tmp_path, model="{base: file:m}", **BASE) == []


def test_without_one_it_is_refused_and_head_is_named(tmp_path: Path) -> None:
    save(tmp_path / "m", PLAIN)
    (problem,) = refused(tmp_path, model="{base: file:m}", **BASE)
    assert problem.path == "methods.base"
    assert "method head" in problem.remedy
    accepted(tmp_path, model="{base: file:m}", methods="{base: {}, head: {}}", axes="{method: [head]}")


def test_a_lab_base_has_none(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, model="{base: lab:gpt2}", **BASE)
    assert "lab:gpt2 has none" in problem.got


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_the_hubs_cache_is_asked(tmp_path: Path, variable: str, revision: str) -> None:
    below = {"HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}.get(variable, "")
    cache(tmp_path / "cache" / below, PLAIN)
    environ = {variable: str(tmp_path / "cache")}
    (problem,) = refused(tmp_path, environ, model=f"{{base: hub:someone/model, revision: {revision}}}", **BASE)
    assert "trained classification head" in problem.rule


def test_what_is_not_cached_is_left_to_the_plan(tmp_path: Path) -> None:
    (warning,) = accepted(tmp_path, {"HF_HOME": str(tmp_path)}, **BASE)
    assert "not in the hub's local cache" in warning
    assert accepted(tmp_path, {"HF_HOME": str(tmp_path)}) == []


def test_a_torn_configuration_is_left_to_the_plan(tmp_path: Path) -> None:
    save(tmp_path / "m", PLAIN)
    (tmp_path / "m" / "config.json").write_text("{")
    assert read_config(load(tmp_path, model="{base: file:m}"), {}) is None


def test_an_encoder_does_not_generate() -> None:
    assert not generates({"model_type": "bert", "architectures": ["BertForMaskedLM"]})
    assert generates({"model_type": "bert", "is_decoder": True})
    assert generates(PLAIN)
    assert generates({})


@pytest.mark.parametrize(
    ("base", "rule"),
    [
        ("gpt2", "must be hub:<id>"),
        ("'hub:a/b/c'", "a hub base is"),
        ("hub:a@v1", "stands in model.revision"),
        ("'hub:'", "must be hub:<id>"),
    ],
)
def test_bases_that_are_none(tmp_path: Path, base: str, rule: str) -> None:
    (problem,) = refused(tmp_path, model=f"{{base: {base}}}")
    assert problem.path == "model.base"
    assert rule in problem.rule
