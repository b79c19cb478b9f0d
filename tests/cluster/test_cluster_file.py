"""The cluster file against Ray's own schema, and the rules that a file may break without Ray noticing."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

FILE = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, object]:
    loaded: dict[str, object] = YAML(typ="safe").load(FILE.read_text())
    return loaded


def test_ray_accepts_it(cluster: dict[str, object]) -> None:
    import json

    import ray

    # Ray validates with this very file when it runs `ray up`.
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(cluster, schema)


def test_every_start_command_is_authenticated_and_the_dashboard_is_private(cluster: dict[str, list[str]]) -> None:
    starts = [c for key in ("head_start_ray_commands", "worker_start_ray_commands") for c in cluster[key] if "ray start" in c]
    assert len(starts) == 2
    assert all("export RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_the_head_is_one_of_the_node_types(cluster: dict[str, object]) -> None:
    types = cluster["available_node_types"]
    assert isinstance(types, dict)
    assert cluster["head_node_type"] in types
