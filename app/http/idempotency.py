"""Writes that may be repeated: an Idempotency-Key and what it answered the first time.

After draft-ietf-httpapi-idempotency-key-header: the same key with the same request returns the
first answer, with another request 409. Only successes are kept, since a refused write changed
nothing; and key, write and answer are one transaction, so a crash cannot part them.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from app.database import Connection, sql
from app.errors import Conflict, malformed

_KEY = re.compile(r"[!-~]{1,200}")
Answer = TypeVar("Answer", bound=msgspec.Struct)


@dataclass(frozen=True, kw_only=True)
class Repeatable:
    """A request's key, and a digest of all that makes it the same request, 32 bytes."""

    key: str
    request: bytes


def check_key(text: str) -> str:
    """Return the key. Raises Malformed when it is not 1 to 200 visible ASCII characters."""
    if not _KEY.fullmatch(text):
        raise malformed("Idempotency-Key", "must be 1 to 200 visible ASCII characters")
    return text


async def run_once_per_key(
    connection: Connection,
    repeatable: Repeatable | None,
    *,
    actor: str,
    answer_type: type[Answer],
    work: Callable[[Connection], Awaitable[Answer]],
) -> Answer:
    """Do the work, or return what it answered before under the same key of the same actor.

    Raises Conflict when the key was used for another request.
    """
    if repeatable is None:
        return await work(connection)
    while not await sql.claim_idempotency_key(
        connection, actor=actor, key=repeatable.key, request=repeatable.request
    ):
        found = await sql.find_idempotency_key(connection, actor=actor, key=repeatable.key)
        if found is None:
            continue  # trimmed between the two statements, since a day has passed: claim it anew
        if found["request"] != repeatable.request:
            raise Conflict(
                "idempotency_key_reused", "This Idempotency-Key was used for another request."
            )
        return msgspec.json.decode(found["answer"], type=answer_type)
    answer = await work(connection)
    await sql.keep_answer(
        connection, actor=actor, key=repeatable.key, answer=msgspec.json.encode(answer)
    )
    return answer
