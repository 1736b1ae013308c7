"""KEY_COMMAND: an executable that wraps and unwraps data keys, so that a KMS can keep the keys.

It is run as `COMMAND wrap` or `COMMAND unwrap`, with one JSON object on its standard input and one
expected on its standard output; bytes are in base64:

    wrap    {"key", "context"}                →  {"kek_id", "wrapped"}
    unwrap  {"kek_id", "wrapped", "context"}  →  {"key"}

`context` is what the key is to be bound to, as a KMS calls it: the environment and the data key's
id. An exit code other than 0, or silence for five seconds, is a refusal; then its whole process
group is killed. What it writes to standard error is thrown away, as it might quote a key.

Its answers are not believed. What it wraps is unwrapped before it is used, and is stored behind a
check value of the key, HMAC-SHA-256 of the context: a secret that was sealed by another key than
the one that comes back would be lost.
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
_AT_ONCE = 4
_CHECK_BYTES = 32
# To be told that a killed process has ended takes no time; unless its pipe went to one that lives.
_END_SECONDS = 1.0
Answer = TypeVar("Answer", bound=msgspec.Struct)


class _WrapAnswer(msgspec.Struct):
    kek_id: str
    wrapped: bytes


class _UnwrapAnswer(msgspec.Struct):
    key: bytes


class CommandError(Exception):
    """The command did not do what it was asked for; says how, and quotes nothing."""


class CommandWrapper:
    """Wraps by the command. Slow and fallible, so what it unwraps is kept by who asks."""

    active_id: str | None = None

    def __init__(self, command: Path) -> None:
        self._command = command
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def wrap(self, material: bytes, environment: str, data_key_id: bytes) -> Wrapped:
        question = {"key": material, "context": _context(environment, data_key_id)}
        try:
            answer = await self._ask("wrap", question, _WrapAnswer)
        except CommandError as error:
            raise KeyMissingError("KEY_COMMAND", str(error)) from None
        if not _KEK_ID.fullmatch(answer.kek_id) or not answer.wrapped:
            raise KeyMissingError("KEY_COMMAND", "gave an id or a wrapped key that cannot be")
        wrapped = Wrapped(
            environment=environment,
            data_key_id=data_key_id,
            kek_id=answer.kek_id,
            content=_check_value(material, question["context"]) + answer.wrapped,
        )
        await self.unwrap(wrapped)
        return wrapped

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        context = _context(wrapped.environment, wrapped.data_key_id)
        question = {
            "kek_id": wrapped.kek_id,
            "wrapped": wrapped.content[_CHECK_BYTES:],
            "context": context,
        }
        try:
            answer = await self._ask("unwrap", question, _UnwrapAnswer)
        except CommandError as error:
            raise KeyMissingError(wrapped.kek_id, f"KEY_COMMAND {error}") from None
        if len(answer.key) != KEY_BYTES:
            raise KeyMissingError(wrapped.kek_id, f"KEY_COMMAND gave no key of {KEY_BYTES} bytes")
        expected = wrapped.content[:_CHECK_BYTES]
        if not hmac.compare_digest(_check_value(answer.key, context), expected):
            raise KeyMissingError(wrapped.kek_id, "KEY_COMMAND gave another key than was wrapped")
        return answer.key

    async def _ask(self, verb: str, question: Mapping[str, object], shape: type[Answer]) -> Answer:
        async with self._places:
            output = await _run(self._command, verb, msgspec.json.encode(question))
        try:
            return msgspec.json.decode(output, type=shape)
        except msgspec.MsgspecError:
            raise CommandError("gave no answer of the right shape") from None


def _context(environment: str, data_key_id: bytes) -> bytes:
    return joined("flagstone/data-key/1", environment, data_key_id)


def _check_value(material: bytes, context: bytes) -> bytes:
    return hmac.digest(material, joined("flagstone/data-key-check/1", context), "sha256")


async def _run(command: Path, verb: str, question: bytes) -> bytes:
    """Return what the command prints. Raises CommandError."""
    try:
        child = await asyncio.create_subprocess_exec(
            command,
            verb,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_ANSWER_BYTES_MAX,
            # A group of its own, so that whatever it has started can be killed with it.
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(f"cannot be run: {reason(error)}") from None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, code = await _exchange(child, question)
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


async def _exchange(child: asyncio.subprocess.Process, question: bytes) -> tuple[bytes, int]:
    if child.stdin is None or child.stdout is None:
        raise CommandError("has no standard input or output")
    # One that reads nothing, and answers all the same, has closed its end.
    with suppress(ConnectionError):
        child.stdin.write(question)
        await child.stdin.drain()
    child.stdin.close()
    output = b""
    while chunk := await child.stdout.read(_ANSWER_BYTES_MAX):
        output += chunk
        if len(output) > _ANSWER_BYTES_MAX:
            raise CommandError("gave too long an answer")
    return output, await child.wait()
