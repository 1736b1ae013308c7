"""Lines of `.env` are replaced or added; everything else stays, to the byte."""

import os
from pathlib import Path

import pytest

from app.settings.env_file import read_env_file, write_env_file

REST = """\
# A comment, and `TOKEN_KEY=no` in it

PORT = 8080   # of the service
export HOST='127.0.0.1'
DATABASE_URL_FILE="/a b/c"
MULTIPLE="one
TOKEN_KEY=still the same value
two"
NOTHING
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "TOKEN_KEY=sealed:x\n"),
        (REST, f"{REST}TOKEN_KEY=sealed:x\n"),
        (REST.rstrip("\n"), f"{REST}TOKEN_KEY=sealed:x\n"),
        (f"TOKEN_KEY=old\n{REST}", f"TOKEN_KEY=sealed:x\n{REST}"),
        (f"TOKEN_KEY='old\nold'\n{REST}", f"TOKEN_KEY=sealed:x\n{REST}"),
        (f"TOKEN_KEY\n{REST}", f"TOKEN_KEY=sealed:x\n{REST}"),
        # Both are replaced: the first of two is not read, and would still show the secret.
        (f"TOKEN_KEY=a\n{REST}TOKEN_KEY=b", f"TOKEN_KEY=sealed:x\n{REST}TOKEN_KEY=sealed:x\n"),
    ],
)
def test_one_line_is_replaced_or_added(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / ".env"
    file.write_text(before)

    write_env_file(file, {"TOKEN_KEY": "sealed:x"})

    assert file.read_text() == after
    assert read_env_file(file)["TOKEN_KEY"] == "sealed:x"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_its_mode_and_owner_stay(tmp_path: Path, mode: int) -> None:
    file = tmp_path / ".env"
    file.write_text(REST)
    file.chmod(mode)
    if os.geteuid() == 0:
        os.chown(file, 12345, 12346)
    before = file.stat()

    write_env_file(file, {"TOKEN_KEY": "sealed:x", "DATABASE_URL": "sealed:y"})

    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert read_env_file(file)["DATABASE_URL"] == "sealed:y"


def test_new_file_is_private(tmp_path: Path) -> None:
    write_env_file(tmp_path / "new", {"TOKEN_KEY": "sealed:x"})

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(REST)
    (tmp_path / "link").symlink_to("real")

    write_env_file(tmp_path / "link", {"TOKEN_KEY": "sealed:x"})

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == f"{REST}TOKEN_KEY=sealed:x\n"
