"""KEY_COMMAND: an executable that wraps and unwraps data keys, for keys in a KMS.

The service runs `COMMAND wrap` or `COMMAND unwrap`. It writes one JSON object to standard input and
expects one on standard output; bytes are in base64:

    wrap    {"key", "context"}                →  {"kek_id", "wrapped"}
    unwrap  {"kek_id", "wrapped", "context"}  →  {"key"}

`context` is the encryption context in the sense of a KMS: the environment and the data key's id. An
exit code other than 0 is a refusal. So is no answer within 5 s; then the whole process group is
killed. Standard error is discarded, because it might contain a key.

The service checks the answers. It unwraps each wrapped key before use, and stores it with a check
value, HMAC-SHA-256 of the context under the key. If unwrapping returned another key, all secrets
sealed by it would be lost.
"""

import asyncio
import hmac
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from app.crypto.fields import joined
from app.errors import reason
from app.secrets.envelope import KEY_BYTES
from app.secrets.key_wrapping import KeyMissingError, Wrapped

LIMIT_SECONDS = 5.0
_ANSWER_BYTES_MAX = 64 * 1024
_KEK_ID = re.compile(r"[!-~]{1,200}")
_PROCESSES_MAX = 4
_CHECK_BYTES = 32
# A killed process ends at once, unless a surviving child still holds its pipe.
_END_SECONDS = 1.0
Answer = TypeVar("Answer", bound=msgspec.Struct)


class _WrapAnswer(msgspec.Struct):
    kek_id: str
    wrapped: bytes


class _UnwrapAnswer(msgspec.Struct):
    key: bytes


class CommandError(Exception):
    """The command failed. The text says how, and quotes no output."""


class CommandWrapper:
    """Wraps by the command. It is slow and may fail, so DataKeyCache stores what it unwraps."""

    active_id: str | None = None

    def __init__(self, command: Path) -> None:
        self._command = command
        self._slots = asyncio.Semaphore(_PROCESSES_MAX)

    async def wrap(self, material: bytes, environment: str, data_key_id: bytes) -> Wrapped:
        request = {"key": material, "context": _context(environment, data_key_id)}
        try:
            answer = await self._call("wrap", request, _WrapAnswer)
        except CommandError as error:
            raise KeyMissingError("KEY_COMMAND", str(error)) from None
        if not _KEK_ID.fullmatch(answer.kek_id) or not answer.wrapped:
            raise KeyMissingError(
                "KEY_COMMAND", "returned an invalid kek_id or an empty wrapped key"
            )
        wrapped = Wrapped(
            environment=environment,
            id=data_key_id,
            kek_id=answer.kek_id,
            wrapped=_check_value(material, request["context"]) + answer.wrapped,
        )
        await self.unwrap(wrapped)
        return wrapped

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        context = _context(wrapped.environment, wrapped.id)
        request = {
            "kek_id": wrapped.kek_id,
            "wrapped": wrapped.wrapped[_CHECK_BYTES:],
            "context": context,
        }
        try:
            answer = await self._call("unwrap", request, _UnwrapAnswer)
        except CommandError as error:
            raise KeyMissingError(wrapped.kek_id, f"KEY_COMMAND {error}") from None
        if len(answer.key) != KEY_BYTES:
            raise KeyMissingError(
                wrapped.kek_id, f"KEY_COMMAND returned no key of {KEY_BYTES} bytes"
            )
        expected = wrapped.wrapped[:_CHECK_BYTES]
        if not hmac.compare_digest(_check_value(answer.key, context), expected):
            raise KeyMissingError(
                wrapped.kek_id, "KEY_COMMAND returned another key than was wrapped"
            )
        return answer.key

    async def _call(self, verb: str, request: Mapping[str, object], shape: type[Answer]) -> Answer:
        async with self._slots:
            output = await _run(self._command, verb, msgspec.json.encode(request))
        try:
            return msgspec.json.decode(output, type=shape)
        except msgspec.MsgspecError:
            raise CommandError("returned no JSON object of the expected shape") from None


def _context(environment: str, data_key_id: bytes) -> bytes:
    return joined("flagstone/data-key/1", environment, data_key_id)


def _check_value(material: bytes, context: bytes) -> bytes:
    return hmac.digest(material, joined("flagstone/data-key-check/1", context), "sha256")


async def _run(command: Path, verb: str, request: bytes) -> bytes:
    """Run the command and return its standard output. Raises CommandError."""
    try:
        child = await asyncio.create_subprocess_exec(
            command,
            verb,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_ANSWER_BYTES_MAX,
            # Its own process group, so that its children can be killed with it.
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(f"cannot be run: {reason(error)}") from None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, code = await _exchange(child, request)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await child.wait()
        if isinstance(error, TimeoutError):
            raise CommandError(f"took longer than {LIMIT_SECONDS:g} s") from None
        raise
    if code != 0:
        raise CommandError(f"failed with exit code {code}")
    return output


async def _exchange(child: asyncio.subprocess.Process, request: bytes) -> tuple[bytes, int]:
    if child.stdin is None or child.stdout is None:
        raise CommandError("has no standard input or output")
    # A command may close its standard input without reading, and still answer.
    with suppress(ConnectionError):
        child.stdin.write(request)
        await child.stdin.drain()
    child.stdin.close()
    output = b""
    while chunk := await child.stdout.read(_ANSWER_BYTES_MAX):
        output += chunk
        if len(output) > _ANSWER_BYTES_MAX:
            raise CommandError(f"returned more than {_ANSWER_BYTES_MAX} bytes")
    return output, await child.wait()
