"""Writes in one transaction: once per Idempotency-Key, or rolled back as a dry run.

After draft-ietf-httpapi-idempotency-key-header: the same key with the same request returns the
first answer, with another request 409. Only successes are stored, because a refused write changes
nothing. Key, write and answer are one transaction, so a crash cannot separate them.
"""

import hmac
import re
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from aiohttp import web

from app.database import Connection, Database, sql
from app.errors import AppError, Conflict, malformed
from app.http.bodies import receive_body
from app.http.keys import DATABASE

_KEY = re.compile(r"[!-~]{1,200}")
Answer = TypeVar("Answer", bound=msgspec.Struct)
Result = TypeVar("Result")

# Every instance has this key and the database has not. A request may contain a secret, which a
# reader of the table could guess from a plain hash.
DIGEST_KEY: web.AppKey[bytes] = web.AppKey("digest_key", bytes)
# Returns a digest of the rights of the caller of a request.
RIGHTS_DIGEST: web.AppKey[Callable[[web.Request], bytes]] = web.AppKey("rights_digest")


@dataclass(frozen=True, kw_only=True)
class Repeatable:
    """The Idempotency-Key of a request, and the digests that must match when it is repeated."""

    key: str
    request: bytes
    rights: bytes


async def run_write(
    request: web.Request,
    work: Callable[[Connection], Awaitable[Answer]],
    *,
    actor: str,
    answer_type: type[Answer],
    dry_run: bool = False,
) -> Answer:
    """Return the result of the work, or the stored response for the same Idempotency-Key.

    The work runs in one transaction, which uses the share of the pool of the environment in the
    path.
    """
    repeatable = await read_repeatable(request, dry_run=dry_run)
    database, environment = request.app[DATABASE], request.match_info.get("environment")

    async def run(connection: Connection) -> Answer:
        return await run_once_per_key(
            connection, repeatable, actor=actor, answer_type=answer_type, work=work
        )

    async with nullcontext() if environment is None else database.shares.held(environment):
        return await transact(database, run, dry_run=dry_run)


async def read_repeatable(request: web.Request, *, dry_run: bool) -> Repeatable | None:
    """Return the key and digest of a request, None without an Idempotency-Key.

    A dry run is not stored, but refuses a malformed key as the write would. Raises Malformed.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise malformed("Idempotency-Key", "must be 1 to 200 visible ASCII characters")
    if dry_run:
        return None
    body = await receive_body(request) if request.body_exists else b""
    conditions = (request.headers.get(name, "") for name in ("If-Match", "If-None-Match"))
    head = "\n".join((request.method, request.raw_path, *conditions))
    # Headers may contain bytes that are not UTF-8.
    sent = head.encode(errors="surrogateescape") + b"\n\n" + body
    return Repeatable(
        key=key,
        request=hmac.digest(request.app[DIGEST_KEY], sent, "sha256"),
        rights=request.app[RIGHTS_DIGEST](request),
    )


async def run_once_per_key(
    connection: Connection,
    repeatable: Repeatable | None,
    *,
    actor: str,
    answer_type: type[Answer],
    work: Callable[[Connection], Awaitable[Answer]],
) -> Answer:
    """Do the work, or return its stored answer if the actor has used the key before.

    A stored answer may come from an older release: a new field of an answer needs a default.
    Raises Conflict when the key was used for another request, and when the rights of the actor have
    changed since: the answer may show what they may no longer read.
    """
    if repeatable is None:
        return await work(connection)
    while not await sql.claim_idempotency_key(
        connection,
        actor=actor,
        key=repeatable.key,
        request=repeatable.request,
        rights=repeatable.rights,
    ):
        row = await sql.find_idempotency_key(connection, actor=actor, key=repeatable.key)
        if row is None:
            continue  # It expired and was deleted between the two statements: claim it again.
        if row["request"] != repeatable.request:
            raise Conflict(
                "idempotency_key_reused", "This Idempotency-Key was used for another request."
            )
        # Null: an earlier release stored the answer.
        if row["rights"] not in {None, repeatable.rights}:
            raise Conflict(
                "rights_changed",
                "Your rights have changed since the answer to this Idempotency-Key. The write was "
                "made: read its result.",
            )
        return msgspec.json.decode(row["answer"], type=answer_type)
    answer = await work(connection)
    await sql.update_answer(
        connection, actor=actor, key=repeatable.key, answer=msgspec.json.encode(answer)
    )
    return answer


async def checked(request: web.Request, check: Awaitable[Result]) -> Callable[[], Result]:
    """Run a check before a write; return a function that gives its result within the write.

    A repeated request must get its first answer even if the check now fails, because it timed out
    or a newer release has other rules. So with an Idempotency-Key the returned function raises the
    check's error. Without one it is raised at once.
    """
    try:
        result = await check
    except AppError as error:
        if "Idempotency-Key" not in request.headers:
            raise
        # No traceback, and popped when raised: a reference cycle would keep the body in memory.
        errors = [error.with_traceback(None)]

        def refuse() -> Result:
            raise errors.pop()

        return refuse
    return lambda: result


class _DryRunOverError(Exception):
    """Rolls back the transaction of a dry run."""


async def transact(
    database: Database, work: Callable[[Connection], Awaitable[Result]], *, dry_run: bool
) -> Result:
    """Run the work in a transaction and return its result. Roll back a dry run."""
    if not dry_run:
        return await database.transact(work)
    results: list[Result] = []

    async def run_and_roll_back(connection: Connection) -> None:
        results.append(await work(connection))
        raise _DryRunOverError

    with suppress(_DryRunOverError):
        await database.transact(run_and_roll_back)
    return results[-1]
