"""The export of signed heads: once a minute to a file, and to the log, whatever has changed.

Before a head is signed, the history between the last one and it is verified, so that nobody signs
what was changed meanwhile; after a restart it goes on from the last head in the file. Whoever
rewrites the history has to do so within a minute, or on every machine that keeps these lines.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.audit.heads import Head, SignedHead, last_heads, signed
from app.audit.verification import BrokenChainError, Position, check_end, follow, one_moment
from app.crypto.signing import Signer
from app.database import Connection, Database, sql
from app.database.threads import in_thread
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import Unavailable
from app.log import logger
from app.settings import Secret
from app.tasks import jittered

log = logger(__name__)

EXPORT_SECONDS = 60
# What is looked at of a file that is there: 200 environments have their last heads in it.
_TAIL_BYTES = 1024 * 1024


class HeadExport:
    """Signs and writes heads. `broken` has what does not hold, by environment."""

    def __init__(self, database: Database, file: Path) -> None:
        self._database = database
        self._file = file
        self._signer: Signer | None = None
        self._last: dict[str, Head] = {}
        self._is_read = False
        self.failure: str | None = None
        self.broken: dict[str, str] = {}
        self.exported_at: datetime | None = None

    def use_key(self, key: Secret) -> None:
        self._signer = Signer(key)

    async def run(self) -> None:
        """Export for ever."""
        while True:
            await self.run_once()
            await asyncio.sleep(jittered(EXPORT_SECONDS))

    async def run_once(self) -> None:
        """Export what has changed. Never raises for the database or the disk."""
        try:
            await self._export()
        except Unavailable as error:
            self._fail(error.code)
        except OSError as error:
            self._fail(error.strerror or type(error).__name__)
        else:
            self.failure = None

    async def _export(self) -> None:
        if self._signer is None:
            return
        if not self._is_read:
            key = self._signer.public_key
            self._last = await in_thread("heads", lambda: last_heads(self._file, key, _TAIL_BYTES))
            self._is_read = True
        heads = await self._heads(self._signer)
        if heads:
            await in_thread("heads", lambda: _append(self._file, heads))
        self.exported_at = datetime.now(UTC)
        for head in heads:
            self._last[head.environment] = head
            log.info("audit_head", **{**msgspec.structs.asdict(head), "at": head.at.isoformat()})

    async def _heads(self, signer: Signer) -> list[SignedHead]:
        """Return the heads that are not exported yet, each verified from the last one on."""
        heads: list[SignedHead] = []
        async with one_moment(self._database) as connection:
            at = await connection.fetchval("select current_timestamp")
            for environment in await environments.list_all(connection):
                if await self._is_news(connection, environment):
                    heads += filter(None, [signed(environment, at, signer)])
        return heads

    async def _is_news(self, connection: Connection, environment: Environment) -> bool:
        """Tell whether there is a head to sign, which goes on from the last or begins an epoch."""
        name = environment.name
        known = self._last.get(name)
        if known is not None and known.epoch != environment.epoch:
            log.warning("audit_epoch_changed", environment=name, revision=known.revision)
            del self._last[name]
            known = None
        broken = await _broken(connection, known, environment) if known is not None else None
        if broken is None:
            self.broken.pop(name, None)
            return known is None or known.hash != environment.hash
        if self.broken.get(name) != broken:
            log.error("audit_chain_broken", environment=name, reason=broken)
        self.broken[name] = broken
        return False

    def _fail(self, reason: str) -> None:
        if reason != self.failure:
            log.warning("audit_heads_not_exported", reason=reason)
        self.failure = reason


async def _broken(connection: Connection, known: Head, environment: Environment) -> str | None:
    """Return what does not hold from the last head on, None when all does."""
    name, revision, signed_hash = known.environment, known.revision, bytes.fromhex(known.hash)
    found = await sql.find_link_hash(connection, environment=name, revision=revision)
    if found is None:
        return f"revision {revision} was signed, and is gone"
    if found != signed_hash:
        return f"revision {revision} is another one than was signed"
    try:
        end = await follow(connection, name, Position(revision, signed_hash))
        check_end(environment, end)
    except BrokenChainError as error:
        return str(error)
    return None


def _append(file: Path, heads: Sequence[SignedHead]) -> None:
    """Add the lines and see them onto the disk; the file is opened anew, so it may be rotated."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(head) + b"\n" for head in heads)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while lines:
            lines = lines[os.write(descriptor, lines) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
