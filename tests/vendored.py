"""Fetch the third-party files of the console and of its tests: `make vendor`.

Each folder has a list, `vendored.json`: packages with version, licence, files and SHA-256. npm
fetches the packages at these versions. The icons become one sprite.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.paths import ROOT

LIST = "vendored.json"
FOLDERS = (ROOT / "app/console/static/vendor", ROOT / "tests/console/vendor")
FETCH_SECONDS = 300
_SHAPES = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)


def packages(folder: Path) -> list[dict[str, Any]]:
    """Return the packages of a folder's list."""
    listed: list[dict[str, Any]] = json.loads((folder / LIST).read_text())["packages"]
    return listed


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(folder: Path) -> None:
    """Write the files of the list to the folder, and their hashes to the list."""
    listed = packages(folder)
    for package in listed:
        with tempfile.TemporaryDirectory() as name:
            unpacked = _unpack(f"{package['name']}@{package['version']}", Path(name))
            for file, entry in package["files"].items():
                path = folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                source = unpacked / entry["from"]
                path.write_bytes(
                    _sprite(source, package["icons"]) if source.is_dir() else source.read_bytes()
                )
                entry["sha256"] = digest(path)
    (folder / LIST).write_text(json.dumps({"packages": listed}, indent=2) + "\n")


def _unpack(package: str, folder: Path) -> Path:
    command = ["npm", "pack", "--silent", "--ignore-scripts", package]
    subprocess.run(
        command, cwd=folder, check=True, timeout=FETCH_SECONDS, stdout=subprocess.DEVNULL
    )
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / "package"


def _sprite(folder: Path, names: list[str]) -> bytes:
    """Return one SVG file with a symbol for each icon."""
    return "".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg">\n',
            *(_symbol(name, (folder / f"{name}.svg").read_text()) for name in names),
            "</svg>\n",
        ]
    ).encode()


def _symbol(name: str, icon: str) -> str:
    shapes = _SHAPES.search(icon)
    if shapes is None:
        sys.exit(f"The icon {name} has no <svg> element.")
    return (
        f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
        'stroke-width="2" stroke-linecap="round" stroke-linejoin="round">'
        f"{' '.join(shapes[1].split())}</symbol>\n"
    )


if __name__ == "__main__":
    for vendor in FOLDERS:
        fetch(vendor)
