"""Private files are written completely or not at all, also on a full disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.access.local_credentials import token_key
from app.private_files import make_data_folder, write_new, write_private
from app.secrets.key_sources import wrapper_of
from app.settings import load
from tests.waiting import HANG_SECONDS

# As on a full disk: a file can be created, but nothing can be written to it.
_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from app.access.local_credentials import DataFolderError, token_key
from app.settings import load
from app.secrets.key_sources import wrapper_of
settings = load({"DATA_DIR": sys.argv[1]})
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    token_key(settings)
    wrapper_of(settings)
except DataFolderError as error:
    sys.exit(str(error))
"""


def _start_on_a_full_disk(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, folder],
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        # Coverage would write its own file, which the limit forbids.
        env={name: value for name, value in os.environ.items() if "COV" not in name},
    )


def test_keys_that_exist_are_read_from_a_full_disk(tmp_path: Path) -> None:
    settings = load({"DATA_DIR": str(tmp_path)})
    token_key(settings)
    wrapper_of(settings)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    outcome = _start_on_a_full_disk(tmp_path)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_key_on_a_full_disk_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    outcome = _start_on_a_full_disk(tmp_path)

    assert outcome.returncode == 1
    assert f"DATA_DIR: {tmp_path / 'token-key'} cannot be written" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_private, write_new])
def test_file_that_cannot_be_written_is_removed(tmp_path: Path, write: object) -> None:
    assert callable(write)
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "key", "é")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_private, write_new])
def test_file_that_exists_stays_as_it_is(tmp_path: Path, write: object) -> None:
    assert callable(write)
    (tmp_path / "key").write_text("first")
    (tmp_path / "link").symlink_to("nowhere")

    for name in ("key", "link"):
        with pytest.raises(FileExistsError):
            write(tmp_path / name, "second")

    assert (tmp_path / "key").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_data_folder_of_root_can_be_entered(tmp_path: Path, umask: int) -> None:
    """The embedded PostgreSQL then runs as another account."""
    folder = tmp_path / "data"

    previous = os.umask(umask)
    try:
        make_data_folder(folder)
    finally:
        os.umask(previous)

    can_enter = folder.stat().st_mode & 0o011 == 0o011
    assert can_enter is (os.geteuid() == 0 or umask == 0o022)
