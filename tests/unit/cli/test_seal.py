"""The commands of `seal` in a pipe; tests/process/cli/test_seal.py has a terminal and a service."""

import re
import stat
from pathlib import Path

import pytest

from tests.commands import CommandResult, run_command

CANARY = "canary7f3a"
URL = f"postgresql://app:{CANARY}@db.example.org/flagstone"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(*words: str, given: str = "", **environ: str) -> CommandResult:
    """Run a command of `seal`."""
    return run_command("seal", *words, stdin=given, **{"IDENTITY_FILE": None, **environ})


@pytest.fixture
def identity(folder: Path) -> dict[str, str]:
    """The environment of a host that has an identity."""
    assert ran("keygen", "--out", "identity")[0] == 0
    return {"IDENTITY_FILE": str(folder / "identity")}


def test_new_identity_is_private_and_never_overwritten(folder: Path) -> None:
    result = ran("keygen", "--out", "identity")
    again = ran("keygen", "--out", "identity")
    piped = ran("keygen")

    file = folder / "identity"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert result == (0, re.findall("age1[0-9a-z]{58}", file.read_text())[0] + "\n", "")
    assert again[0] == 1
    assert "identity exists already" in again[2]
    assert ran("recipients", IDENTITY_FILE="identity")[1] == result[1]
    assert "AGE-SECRET-KEY-1" in piped[1]
    assert re.fullmatch("recipient: age1[0-9a-z]{58}\n", piped[2])


def test_rekey_adds_and_removes_recipients(folder: Path, identity: dict[str, str]) -> None:
    other = {"IDENTITY_FILE": str(folder / "other")}
    recipient = ran("keygen", "--out", "other")[1].strip()
    own_recipient = ran("recipients", **identity)[1].strip()
    for name, value in (("DATABASE_URL", URL), ("TOKEN_KEY", CANARY * 4)):
        ran("encrypt", name, "--env-file", ".env", given=value, **identity)

    before = ran("check", **other)
    added = ran("rekey", "--add", recipient, "--env-file", ".env", **identity)
    opened = ran("check", **other)
    # A new value is for the recipients of the old one, unless others are named.
    ran("encrypt", "TOKEN_KEY", "--env-file", ".env", given="new" * 20, **other)
    check = ran("check", **identity)
    removed = ran("rekey", "--remove", own_recipient, "--env-file", ".env", **identity)
    after = ran("check", **identity)

    assert (before[0], added[0], opened[0], check[0]) == (1, 0, 0, 0)
    assert "for other recipients" in before[1]
    assert opened[1].count(recipient) == opened[1].count(own_recipient) == 2
    assert check[1].count(recipient) == check[1].count(own_recipient) == 2
    assert "this host can no longer open it" in removed[2]
    assert (after[0], ran("check", **other)[0]) == (1, 0)
    assert ran("rekey", "--remove", recipient, "--env-file", ".env", **other)[0] == 1


def test_sealed_file_goes_through_a_pipe(folder: Path, identity: dict[str, str]) -> None:
    recipient = ran("keygen", "--out", "other")[1].strip()

    sealed = ran("encrypt", "TOKEN_KEY", given=CANARY * 4, **identity)[1]
    again = ran("rekey", "TOKEN_KEY", "--add", recipient, given=sealed, **identity)[1]
    (folder / "key").write_text(again)
    checked = ran("check", TOKEN_KEY_FILE="key", IDENTITY_FILE="other")
    both = ran("check", TOKEN_KEY_FILE="key", TOKEN_KEY="x", **identity)

    assert checked[0] == 0
    assert recipient in checked[1]
    assert (both[0], "must not be set together" in both[1]) == (1, True)


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        (("encrypt", "PORT"), "1", "the secret settings are"),
        (("encrypt", "TOKEN_KEY"), "", "must come on standard input"),
        (("encrypt", "TOKEN_KEY"), CANARY, "must have at least 32 characters"),
        (("encrypt", "TOKEN_KEY"), CANARY * 9_999, "at most 65536 bytes"),
        (("encrypt", "TOKEN_KEY"), CANARY + "\udcff", "must be UTF-8"),
        (("encrypt", "DATABASE_URL"), f"mysql://u:{CANARY}@h/d", "must start with postgresql://"),
        (("encrypt", "DATABASE_URL", "--recipient", "age1"), URL, "age recipients"),
        (("encrypt", "TOKEN_KEY"), f"sealed:age:v1:{CANARY * 4}", "already sealed"),
        (("rekey",), "", "name a setting"),
        (("rekey", "TOKEN_KEY", "--add", "age1"), CANARY * 4, "must be sealed"),
        (("rekey", "TOKEN_KEY"), f"sealed:age:v1:{CANARY}", "damaged"),
        (("check", "--env-file", "missing"), "", "must name a file"),
        (("decrypt", "PORT"), "", "the secret settings are"),
    ],
)
def test_error_hides_the_value(
    folder: Path, identity: dict[str, str], words: tuple[str, ...], given: str, message: str
) -> None:
    code, output, errors = ran(*words, given=given, **identity)

    assert (code != 0, output) == (True, "")
    assert message in errors
    assert CANARY not in errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in folder.iterdir()) == ["identity"]


def test_encrypt_without_identity_needs_recipient() -> None:
    recipient = ran("keygen", "--out", "identity")[1].strip()

    without = ran("encrypt", "DATABASE_URL", given=URL)
    named = ran("encrypt", "DATABASE_URL", "--recipient", recipient, given=URL)

    assert (without[0], "--recipient: IDENTITY_FILE must be set" in without[2]) == (1, True)
    assert (named[0], named[2]) == (0, "")
    assert named[1].startswith("sealed:age:v1:")
