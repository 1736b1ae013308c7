"""Export signed heads of changed environments once a minute, to a file and to the log.

The export verifies the history since the last head before it signs the next one. After a restart it
continues from the last head in the file. So an attacker must rewrite history within a minute, or
also replace every stored copy of the signed heads.

A new epoch that does not continue the signed history is reported until the next start, because only
an operator knows whether a backup was restored.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from prometheus_client import Metric

from app.audit.chain import (
    PAGE_SIZE,
    BrokenChainError,
    Position,
    check_end,
    consistent_read,
    follow,
)
from app.audit.heads import Head, SignedHead, check_expectations, last_heads, signed
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
# The pause after a failure. With a minute, repeated short outages could prevent every export.
RETRY_SECONDS = 5
# For example when the disk does not respond.
_EXPORT_AGE_MAX = timedelta(seconds=5 * EXPORT_SECONDS)


class HeadExport(Component):
    """Sign and export heads.

    `broken` has the reason for each environment whose chain is broken. `replaced` has the reason
    for each whose signed history or expected schema was replaced.
    """

    name = "audit_heads"

    def __init__(
        self, database: Database, file: Path, key: Secret, *, log_level: int = logging.INFO
    ) -> None:
        self._database = database
        self._log_level = log_level
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
        await repeat(lambda: RETRY_SECONDS if self.failure else EXPORT_SECONDS, self.run_once)

    async def run_once(self) -> None:
        """Export the heads of changed environments. Never raises; `failure` has the reason."""
        try:
            await self._export()
        except Unavailable as error:
            self._fail(error.code)
        except OSError as error:
            self._fail(reason(error))
        except Exception as error:  # noqa: BLE001 - one failure must not end the export
            # The owner of the tables can store data that no release can read.
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
            # Before the file, because the log works also when the disk is full.
            fields = {**msgspec.structs.asdict(head), "at": head.at.isoformat()}
            log.log(self._log_level, "audit_head", **fields)
        if heads:
            await in_thread("heads", lambda: _append(self._file, heads))
        self._last |= {head.environment: head for head in heads}
        self.exported_at = datetime.now(UTC)

    async def _heads(self) -> list[SignedHead]:
        """Return the heads to export, each verified from the last exported one."""
        heads: list[SignedHead] = []
        async with consistent_read(self._database) as connection:
            at = await connection.fetchval("select current_timestamp")
            all_environments = await environments.list_all(connection, with_deleted=True)
            expectations = await find_expectations(connection)
            existing = {row.name for row in await environments.list_all(connection)}
            for environment in all_environments:
                name, closing = environment.name, (environment.name, environment.hash)
                if name not in existing and closing in self._closed:
                    continue
                if await self._needs_export(connection, environment, expectations):
                    heads += filter(None, [signed(environment, expectations, at, self._signer)])
                elif name not in existing and name not in self.broken:
                    self._closed.add(closing)
        for name in self._last.keys() - {environment.name for environment in all_environments}:
            revision = self._last[name].revision
            self._report(name, f"revision {revision} was signed, but the environment is missing")
        return heads

    async def _needs_export(
        self, connection: Connection, environment: Environment, expectations: Expectations | None
    ) -> bool:
        """Verify the history since the last head, and return whether a new head is due."""
        name = environment.name
        known = self._last.get(name)
        if known is not None:
            await self._check_expectations(connection, known)
        broken = await _broken(connection, known, environment)
        if known is not None and known.epoch != environment.epoch:
            log.warning("audit_epoch_changed", environment=name, revision=known.revision)
            if broken is not None:
                log.error("audit_history_replaced", environment=name, reason=broken)
                self.replaced[name] = f"{broken}; a new epoch has begun"
                broken = await _broken(connection, None, environment)
            del self._last[name]
            known = None
        if broken is not None:
            self._report(name, broken)
            return False
        self.broken.pop(name, None)
        current = environment.hash, expectations
        return known is None or (known.hash, known.expectations) != current

    async def _check_expectations(self, connection: Connection, known: Head) -> None:
        """Report a signed schema that is no longer stored.

        The export goes on, so that the next head has the current expected schema.
        """
        name, mismatch = known.environment, None
        try:
            await check_expectations(connection, [known])
        except BrokenChainError as error:
            mismatch = str(error)
        if mismatch is not None and self.replaced.get(name) != mismatch:
            log.error("audit_expectations_replaced", environment=name, reason=mismatch)
            self.replaced[name] = mismatch

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        """Only warn, because every other instance has the same history."""
        return {"audit:chain": self._chain_check(scope), "audit:heads": self._heads_check()}

    def _chain_check(self, scope: ReportScope) -> HealthCheck:
        """Name the broken environments that the token covers, and count the others."""
        reasons = [*self.replaced.items(), *self.broken.items()]
        outputs = [f"{name}: {reason}" for name, reason in reasons if scope.covers(name)]
        if hidden := len(reasons) - len(outputs):
            outputs.append(f"{hidden} in environments that this token does not cover")
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
            output=self.failure or ("the export does not finish" if is_late else None),
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

    def _report(self, name: str, broken: str) -> None:
        if self.broken.get(name) != broken:
            log.error("audit_chain_broken", environment=name, reason=broken)
        self.broken[name] = broken

    def _fail(self, reason: str, **details: str) -> None:
        if reason != self.failure:
            log.warning("audit_heads_not_exported", reason=reason, **details)
        self.failure = reason


async def _broken(
    connection: Connection, known: Head | None, environment: Environment
) -> str | None:
    """Return why the chain is broken since the last head, None when it is not.

    Without a head, it verifies the last 1,000 revisions; `audit verify` verifies all.
    """
    name = environment.name
    revision = known.revision if known else max(0, environment.revision - PAGE_SIZE)
    stored_hash = await sql.find_link_hash(connection, environment=name, revision=revision)
    if known is not None and stored_hash is None:
        return f"revision {revision} was signed, but is missing"
    if known is not None and stored_hash.hex() != known.hash:
        return f"revision {revision} differs from the signed head"
    try:
        end = await follow(connection, name, Position(revision, stored_hash))
        check_end(environment, end)
    except BrokenChainError as error:
        return str(error)
    return None


def _append(file: Path, heads: Sequence[SignedHead]) -> None:
    """Append the heads and sync. The file is opened each time, so that it can be rotated."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(head) + b"\n" for head in heads)
    # Non-blocking: opening a pipe without a reader would block without limit.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
    descriptor = os.open(file, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
            # A full disk can cut the last line; appending to it would spoil the next line too.
            lines = b"\n" + lines
        while lines:
            lines = lines[os.write(descriptor, lines) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
