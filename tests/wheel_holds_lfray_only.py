"""Checks a built wheel: it holds the package lfray, its presets, its metadata, and nothing else. Run by `make build`."""

import sys
import zipfile


def main(path: str) -> None:
    names = zipfile.ZipFile(path).namelist()
    strays = [name for name in names if not name.startswith(("lfray/", "lfray-"))]
    assert not strays, f"the wheel holds more than lfray: {strays}"
    assert "lfray/py.typed" in names, "the wheel lacks py.typed"
    assert "lfray/presets/quickstart.yaml" in names, "the wheel lacks the presets"
    print(f"{path}: {len(names)} files, all lfray")


if __name__ == "__main__":
    main(sys.argv[1])
