"""KEY_COMMAND: an executable wraps and unwraps, and each of its errors is refused."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from app.secrets import key_command as command
from app.secrets.key_command import CommandWrapper
from app.secrets.key_wrapping import KeyMissingError, Wrapped

# A minimal KMS that follows the protocol: it reverses bytes.
_GOOD = """#!/usr/bin/env python3
import base64, json, sys
asked = json.load(sys.stdin)
context = base64.b64decode(asked["context"])
if sys.argv[1] == "wrap":
    wrapped = base64.b64decode(asked["key"])[::-1] + context
    print(json.dumps({"kek_id": "arn:kms/1", "wrapped": base64.b64encode(wrapped).decode()}))
else:
    wrapped = base64.b64decode(asked["wrapped"])
    if asked["kek_id"] != "arn:kms/1" or wrapped[32:] != context:
        sys.exit("refused: a text that may quote " + asked["wrapped"])
    print(json.dumps({"key": base64.b64encode(wrapped[:32][::-1]).decode()}))
"""
WRAPPED = Wrapped(environment="local", id=bytes(8), kek_id="arn:kms/1", wrapped=bytes(32) + b"w")


def _wrapper(folder: Path, text: str) -> CommandWrapper:
    file = folder / "command"
    file.write_text(text)
    file.chmod(0o700)
    return CommandWrapper(file)


async def test_command_unwraps_what_it_wrapped(tmp_path: Path) -> None:
    wrapper, material = _wrapper(tmp_path, _GOOD), os.urandom(32)

    wrapped = await wrapper.wrap(material, "local", bytes(8))

    assert wrapped.kek_id == "arn:kms/1"
    assert await wrapper.unwrap(wrapped) == material
    moved = Wrapped(environment="staging", id=bytes(8), kek_id="arn:kms/1", wrapped=wrapped.wrapped)
    with pytest.raises(KeyMissingError, match="failed with exit code 1") as refusal:
        await wrapper.unwrap(moved)
    assert "quote" not in str(refusal.value)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("#!/bin/sh\nexit 3\n", "exit code 3"),
        ("#!/bin/sh\necho nonsense\n", "no JSON object of the expected shape"),
        ("#!/bin/sh\necho '{}'\n", "no JSON object of the expected shape"),
        ('#!/bin/sh\necho \'{"key": "c2hvcnQ="}\'\n', "no key of 32 bytes"),
        ("#!/bin/sh\nhead -c 100000 /dev/zero\n", "returned more than 65536 bytes"),
        ("#!/nowhere/interpreter\n", "cannot be run"),
        ("#!/bin/sh\nkill -9 $$\n", "exit code -9"),
    ],
)
async def test_command_failure_is_named_without_output(
    tmp_path: Path, script: str, reason: str
) -> None:
    with pytest.raises(KeyMissingError, match=reason) as refusal:
        await _wrapper(tmp_path, script).unwrap(WRAPPED)

    assert refusal.value.kek_id == "arn:kms/1"


async def test_command_invalid_kek_id_is_refused(tmp_path: Path) -> None:
    script = '#!/bin/sh\necho \'{"kek_id": "a b", "wrapped": "YQ=="}\'\n'

    with pytest.raises(KeyMissingError):
        await _wrapper(tmp_path, script).wrap(bytes(32), "local", bytes(8))


async def _child_at_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> int:
    """Run a command until its limit. Return the ID of its child, which is in the file `pid`."""
    file = tmp_path / "pid"
    for seconds in (0.5, 5.0, 50.0):
        monkeypatch.setattr(command, "LIMIT_SECONDS", seconds)
        with pytest.raises(KeyMissingError, match="took longer"):
            await _wrapper(tmp_path, script).unwrap(WRAPPED)
        # On a busy machine, the limit may come before the child.
        if file.exists() and (text := file.read_text()):
            return int(text)
    raise AssertionError("the command started no child")


async def test_hanging_command_is_killed_with_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"#!/bin/sh\nsleep 3600 & echo $! > {tmp_path}/pid\nwait\n"

    child = await _child_at_limit(tmp_path, monkeypatch, script)

    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


async def test_command_with_surviving_child_times_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that left the group is not killed, and keeps the pipe open."""
    escaped = "import os, time; os.setsid(); open('pid', 'w').write(str(os.getpid()))"
    script = f'#!/bin/sh\ncd {tmp_path}\n{sys.executable} -c "{escaped}; time.sleep(3600)" & wait\n'

    child = await _child_at_limit(tmp_path, monkeypatch, script)

    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("answered", ["b'nonsense'", "bytes(32) + context"])
async def test_command_wrap_is_verified_by_unwrap(tmp_path: Path, answered: str) -> None:
    """A value sealed by such a key could never be opened."""
    line = next(line for line in _GOOD.splitlines() if "[::-1] + context" in line)
    wrapper = _wrapper(tmp_path, _GOOD.replace(line, f"    wrapped = {answered}"))

    with pytest.raises(KeyMissingError):
        await wrapper.wrap(os.urandom(32), "local", bytes(8))


async def test_command_returning_other_key_is_refused(
    tmp_path: Path,
) -> None:
    wrapper = _wrapper(tmp_path, _GOOD)
    wrapped = await wrapper.wrap(os.urandom(32), "local", bytes(8))
    answer = '{"key": "' + "A" * 43 + '="}'

    with pytest.raises(KeyMissingError, match="another key than was wrapped"):
        await _wrapper(tmp_path, f"#!/bin/sh\necho '{answer}'\n").unwrap(wrapped)


async def test_command_that_reads_no_input_works(tmp_path: Path) -> None:
    wrapped = await _wrapper(tmp_path, _GOOD).wrap(bytes(32), "local", bytes(8))
    answer = '{"key": "' + "A" * 43 + '="}'
    script = f"#!/bin/sh\nexec 0<&-\nsleep 0.2\necho '{answer}'\n"

    assert await _wrapper(tmp_path, script).unwrap(wrapped) == bytes(32)
