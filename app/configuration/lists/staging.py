"""Stage the values of an upload in a store of their own, in short statements.

No lock is held meanwhile, and readers do not see the store. An upload that fails deletes its store.
If its process ends, `Uploads` deletes the store later.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from app.components import Component
from app.configuration.list_data.digest import Element, ListSum
from app.configuration.list_data.ranges import hash_ranges
from app.database import Connection, Database, sql
from app.errors import Invalid, Unavailable, Violation
from app.evaluation.lists import COUNT_MAX, value_hash
from app.log import logger
from app.tasks import wait_at_most
from app.threads import in_thread

log = logger(__name__)

BATCH = 5_000
SALT_BYTES = 16
# Longer than any upload may last.
ABANDONED_HOURS = 2
_CLEAN_SECONDS = 1_800.0
_RUNNING_MAX = 2


@dataclass(kw_only=True)
class Staged:
    """The store of an upload: its values so far, and how many were repeated.

    `is_adopted` is set once a committed state uses the store.
    """

    store: int
    salt: bytes
    total: ListSum = field(default_factory=ListSum)
    repeated: int = 0
    is_adopted: bool = False

    def adopt(self) -> None:
        self.is_adopted = True


async def stage(connection: Connection) -> Staged:
    """Create a store with the salt of all lists."""
    salt = await sql.find_list_salt(connection) or secrets.token_bytes(SALT_BYTES)
    return Staged(store=await sql.create_list_store(connection, salt=salt), salt=salt)


async def add(connection: Connection, staged: Staged, elements: Sequence[Element]) -> None:
    """Add a batch. The first expiry of a repeated value counts. Raises Invalid above the limit."""

    def hashed() -> tuple[dict[str, int | None], list[int]]:
        first: dict[str, int | None] = {}
        for value, expiry in elements:
            first.setdefault(value, expiry)
        return first, [value_hash(staged.salt, value) for value in first]

    first, hashes = await in_thread("hash list", hashed)
    rows = sql.stage_list_values(
        connection,
        store=staged.store,
        hashes=hashes,
        values=list(first),
        expiries=list(first.values()),
    )
    for value in [row["value"] async for row in rows]:
        del first[value]
    staged.repeated += len(elements) - len(first)
    staged.total = await in_thread("sum list", lambda: staged.total.changed(first.items()))
    check_count(staged.total.count)


def check_count(count: int) -> None:
    if count > COUNT_MAX:
        rule = f"must have at most {COUNT_MAX:,} different values"
        raise Invalid.of("list_too_long", [Violation("list", rule)])


async def discard(database: Database, store: int) -> None:
    """Delete a store unless a state uses it. Never raises: `Uploads` repeats it."""
    try:
        async with database.connection() as connection:
            await sql.lock_list_store(connection, store=store)
        for first, last in hash_ranges():
            async with database.connection() as connection:
                await sql.delete_list_values(connection, store=store, first=first, last=last)
        async with database.connection() as connection:
            await sql.delete_list_store(connection, store=store)
    except Unavailable as error:
        log.warning("upload_not_discarded", reason=error.code)


class Uploads(Component):
    """Limits the uploads at the same time, and deletes the stores of those that did not succeed."""

    name = "uploads"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._running = 0
        self._useless: list[int] = []
        self._woken = asyncio.Event()
        self._cleaning = asyncio.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a running upload. Raises Unavailable if too many run."""
        if self._running >= _RUNNING_MAX:
            raise Unavailable("busy", "Other lists are being uploaded.", retry_after_seconds=10)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def discard_soon(self, store: int) -> None:
        self._useless.append(store)
        self._woken.set()

    async def run(self) -> None:
        while True:
            await self.clean()
            await wait_at_most(_CLEAN_SECONDS, self._woken)

    async def clean(self, hours: int = ABANDONED_HOURS) -> None:
        """Delete useless stores, and those of other processes that have ended."""
        async with self._cleaning:
            self._woken.clear()
            while self._useless:
                await discard(self._database, self._useless.pop())
            try:
                async with self._database.connection() as connection:
                    rows = sql.list_abandoned_stores(connection, hours=hours)
                    stores = [row["id"] async for row in rows]
            except Unavailable:
                return
            for store in stores:
                await discard(self._database, store)


UPLOADS: web.AppKey[Uploads] = web.AppKey("uploads", Uploads)
