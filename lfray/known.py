"""Where this user's sweeps are kept: so that `lfray front NAME` finds a sweep that was run from another folder.

A convenience and nothing else: one small JSON file in the user's state folder, name -> storages, newest first. It may be lost
or stale without harm; an option, LFRAY_STORAGE and ./lfray-runs are looked at first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

KEPT = 8
"""Storages remembered for a name."""


def state_file() -> Path:
    """$XDG_STATE_HOME/lfray/storages.json, by default below ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "lfray" / "storages.json"


def remember(name: str, root: Path) -> None:
    """Note that the sweep is kept at `root`. A state folder that cannot be written to is passed over."""
    known = _read()
    known[name] = [str(root), *(place for place in known.get(name, []) if place != str(root))][:KEPT]
    try:
        path = state_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(known, indent=1))
        os.replace(temporary, path)
    except OSError:
        return


def places(name: str) -> list[Path]:
    """Where the sweep was kept last, newest first; only folders that still stand."""
    return [Path(place) for place in _read().get(name, []) if (Path(place) / "sweeps" / name / "plan.json").is_file()]


def _read() -> dict[str, list[str]]:
    try:
        known = json.loads(state_file().read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {
        name: [place for place in roots if isinstance(place, str)] for name, roots in known.items() if isinstance(roots, list)
    }


def all_places() -> list[Path]:
    """Every remembered storage that still stands, each once."""
    roots = [Path(place) for known in _read().values() for place in known]
    return [root for root in dict.fromkeys(roots) if root.is_dir()]
