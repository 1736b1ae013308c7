"""The export of signed heads: once a minute to a file, and to the log, whatever has changed.

Before a head is signed, the history between the last one and it is verified, so that nobody signs
what was changed meanwhile; after a restart it goes on from the last head in the file. Whoever
rewrites the history has to do so within a minute, or on every machine that keeps these lines.

A new epoch does not make up for it: where it does not go on from what was signed, that is told
until the next start, as only people know whether it was a backup that they restored.
"""

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from prometheus_client import Metric

from app.audit.chain_walk import BrokenChainError, Position, check_end, consistent_read, follow
from app.audit.heads import Head, SignedHead, check_expectations, last_heads, signed
from app.audit.stored_chain import PAGE_SIZE
from app.components import Component, HealthCheck, ReportScope, Status, gauge
from app.crypto.signing import Signer
from app.database import Connection, Database, sql
from app.environments import service as environments
from app.environments.models import Environment
from app.errors import Unavailable, reason
from app.log import logger
from app.schema.expectations import Expectations, find_expectations
from app.settings import Secret
from app.tasks import repeat
from app.threads import in_thread

log = logger(__name__)

EXPORT_SECONDS = 60
# After a failure. With a minute, a series of short outages could prevent every signature.
RETRY_SECONDS = 5
# The disk does not answer, for example.
_EXPORT_AGE_MAX = timedelta(seconds=5 * EXPORT_SECONDS)


class HeadExport(Component):
    """Signs and writes heads. `broken` has what does not hold, by environment, and `replaced` what
    was signed and is not there any more: a history of an epoch before, or expectations of the
    schema.
    """

    name = "audit_heads"

    def __init__(self, database: Database, file: Path, key: Secret) -> None:
        self._database = database
        self._file = file
        self._signer = Signer(key)
        self._last: dict[str, Head] = {}
        self._is_read = False
        # Deleted environments whose last head is exported, each with its hash. The export signs
        # nothing more for them, so it verifies each once per start. `audit verify` still does.
        self._closed: set[tuple[str, str | None]] = set()
        self.failure: str | None = None
        self.broken: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self.exported_at: datetime | None = None

    async def run(self) -> None:
        """Export without end: every minute, and a few seconds after a failure."""
        await repeat(lambda: RETRY_SECONDS if self.failure else EXPORT_SECONDS, self.run_once)

    async def run_once(self) -> None:
        """Export what has changed. Never raises: what does not pass is told until it does."""
        try:
            await self._export()
        except Unavailable as error:
            self._fail(error.code)
        except OSError as error:
            self._fail(reason(error))
        except Exception as error:  # noqa: BLE001 - one failure must not end the export
            # Whoever owns the tables can put something there that no release can read.
            self._fail("an unexpected error", error=type(error).__name__)
        else:
            self.failure = None

    async def _export(self) -> None:
        if not self._is_read:
            key = self._signer.public_key
            self._last = await in_thread("heads", lambda: last_heads(self._file, key))
            self._is_read = True
        heads = await self._heads()
        for head in heads:
            # First, since it leaves the machine also when the disk is full.
            log.info("audit_head", **{**msgspec.structs.asdict(head), "at": head.at.isoformat()})
        if heads:
            await in_thread("heads", lambda: _append(self._file, heads))
        self._last |= {head.environment: head for head in heads}
        self.exported_at = datetime.now(UTC)

    async def _heads(self) -> list[SignedHead]:
        """Return the heads that are not exported yet, each verified from the last one on."""
        heads: list[SignedHead] = []
        async with consistent_read(self._database) as connection:
            at = await connection.fetchval("select current_timestamp")
            found = await environments.list_all(connection, with_deleted=True)
            expectations = await find_expectations(connection)
            existing = {row.name for row in await environments.list_all(connection)}
            for environment in found:
                name, closing = environment.name, (environment.name, environment.hash)
                if name not in existing and closing in self._closed:
                    continue
                if await self._is_news(connection, environment, expectations):
                    heads += filter(None, [signed(environment, expectations, at, self._signer)])
                elif name not in existing and name not in self.broken:
                    self._closed.add(closing)
        for name in self._last.keys() - {environment.name for environment in found}:
            revision = self._last[name].revision
            self._tell(name, f"revision {revision} was signed, and the whole environment is gone")
        return heads

    async def _is_news(
        self, connection: Connection, environment: Environment, expectations: Expectations | None
    ) -> bool:
        """Tell whether there is a head to sign, of a history that goes on from the last one."""
        name = environment.name
        known = self._last.get(name)
        if known is not None:
            await self._look_at_expectations(connection, known)
        broken = await _broken(connection, known, environment)
        if known is not None and known.epoch != environment.epoch:
            log.warning("audit_epoch_changed", environment=name, revision=known.revision)
            if broken is not None:
                log.error("audit_history_replaced", environment=name, reason=broken)
                self.replaced[name] = f"{broken}; a new epoch has begun since"
                broken = await _broken(connection, None, environment)
            del self._last[name]
            known = None
        if broken is not None:
            self._tell(name, broken)
            return False
        self.broken.pop(name, None)
        now = environment.hash, expectations
        return known is None or (known.hash, known.expectations) != now

    async def _look_at_expectations(self, connection: Connection, known: Head) -> None:
        """Tell of those that were signed and are gone. A history that holds is signed on all the
        same: the next head, with what is expected now, would else never come.
        """
        name, lost = known.environment, await _lost(connection, known)
        if lost is not None and self.replaced.get(name) != lost:
            log.error("audit_expectations_replaced", environment=name, reason=lost)
            self.replaced[name] = lost

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn: every other instance serves the same."""
        return {"audit:chain": self._chain_check(scope), "audit:heads": self._heads_check()}

    def _chain_check(self, scope: ReportScope) -> HealthCheck:
        """Count the environments that the token does not cover, and name the others."""
        reasons = [*self.replaced.items(), *self.broken.items()]
        outputs = [f"{name}: {reason}" for name, reason in reasons if scope.covers(name)]
        if hidden := len(reasons) - len(outputs):
            outputs.append(f"{hidden} in environments that this token is not for")
        return HealthCheck(
            status=Status.WARN if outputs else Status.PASS,
            component_type="datastore",
            output="; ".join(outputs) or None,
        )

    def _heads_check(self) -> HealthCheck:
        at = self.exported_at
        is_late = at is not None and datetime.now(UTC) - at > _EXPORT_AGE_MAX
        return HealthCheck(
            status=Status.WARN if self.failure or is_late else Status.PASS,
            time=at,
            output=self.failure or ("the export hangs" if is_late else None),
        )

    def metrics(self) -> Iterable[Metric]:
        yield gauge(
            "flagstone_audit_broken_chains",
            "Environments whose history differs from the signed one.",
            len(self.broken.keys() | self.replaced.keys()),
        )
        if self.exported_at is not None:
            yield gauge(
                "flagstone_audit_heads_exported_timestamp_seconds",
                "Unix time at which all signed heads were last confirmed in the file.",
                self.exported_at.timestamp(),
            )

    def _tell(self, name: str, broken: str) -> None:
        if self.broken.get(name) != broken:
            log.error("audit_chain_broken", environment=name, reason=broken)
        self.broken[name] = broken

    def _fail(self, reason: str, **details: str) -> None:
        if reason != self.failure:
            log.warning("audit_heads_not_exported", reason=reason, **details)
        self.failure = reason


async def _lost(connection: Connection, known: Head) -> str | None:
    """Return which expectations of the schema are not kept any more, None when all are."""
    try:
        await check_expectations(connection, [known])
    except BrokenChainError as error:
        return str(error)
    return None


async def _broken(
    connection: Connection, known: Head | None, environment: Environment
) -> str | None:
    """Return what does not hold from the last head on, None when all does.

    Without one it is from a page before the end: to go through all of it is an operator's to ask.
    """
    name = environment.name
    revision = known.revision if known else max(0, environment.revision - PAGE_SIZE)
    found = await sql.find_link_hash(connection, environment=name, revision=revision)
    if known is not None and found is None:
        return f"revision {revision} was signed, and is gone"
    if known is not None and found.hex() != known.hash:
        return f"revision {revision} is another one than was signed"
    try:
        end = await follow(connection, name, Position(revision, found))
        check_end(environment, end)
    except BrokenChainError as error:
        return str(error)
    return None


def _append(file: Path, heads: Sequence[SignedHead]) -> None:
    """Add the lines and see them onto the disk; the file is opened anew, so it may be rotated."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(head) + b"\n" for head in heads)
    # A pipe that nobody reads from would hold this up for ever otherwise.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
    descriptor = os.open(file, flags, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        if found.st_size and os.pread(descriptor, 1, found.st_size - 1) != b"\n":
            # Torn when a disk was full, say: what is added to it could not be read either.
            lines = b"\n" + lines
        while lines:
            lines = lines[os.write(descriptor, lines) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
