"""The primary: decide which database server may be used.

After a failover the former primary may come back. It still accepts writes, which would be lost.
Each promotion begins a timeline with a higher number. So the highest timeline is stored in memory
and in DATA_DIR, and a server on a lower one is refused. Timelines are compared only within one
cluster, which has a system identifier.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from app.database.client.statements import sql
from app.log import logger
from app.private_files import exclusive_in
from app.threads import in_thread

if TYPE_CHECKING:
    AsyncpgConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    # The class is generic in the stubs only.
    AsyncpgConnection = asyncpg.Connection

log = logger(__name__)

FILE = "database-timeline.json"
# Each new embedded server or restored cluster adds one.
_SYSTEMS_MAX = 20
# Another process may hold the lock of DATA_DIR. The thread waits for it, the caller does not.
_WRITE_SECONDS = 1.0
# A managed server may lack the functions, or refuse them to our role.
_UNSUPPORTED = (
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """The state of a server. `system` and `timeline` are None if it does not report them."""

    takes_writes: bool
    system: str | None = None
    timeline: int | None = None


class Session(AsyncpgConnection):
    """A connection with the address and state of its server, and when the server was chosen."""

    address = ("", 0)
    state = ServerState(takes_writes=True)
    chosen_at = 0.0


class Primary:
    """The state of the primary, as this process knows it.

    `folder` is DATA_DIR, or None to use no file. With `writes` False the file is only read.
    """

    def __init__(self, folder: Path | None = None, *, writes: bool = True) -> None:
        self.file = folder / FILE if folder else None
        self._writes = writes
        # The highest known timeline by system identifier.
        self._timelines = _read(self.file)
        self._system: str | None = None
        self._renewed_at = 0.0
        self._is_unsupported_logged = False
        # Why servers were refused, by address. `is_found`: another server can be used.
        self.refused: dict[str, str] = {}
        self.is_found = True
        # Set by the reader of revisions: whether a server has fewer revisions than were read.
        self.is_behind: Callable[[Session], Awaitable[bool]] = _is_never_behind

    @property
    def timeline(self) -> int | None:
        """The highest known timeline of the cluster in use, or None."""
        return self._timelines.get(self._system or "")

    async def query_state(self, session: Session) -> None:
        """Query the state of the server, and store a higher timeline."""
        try:
            row = await sql.get_primary_state(session)
        except _UNSUPPORTED as error:
            if not self._is_unsupported_logged:
                self._is_unsupported_logged = True
                log.warning("timeline_unknown", sqlstate=error.sqlstate)
            row = await sql.get_primary_mode(session)
        session.state = state = ServerState(**row)
        if state.system is not None and state.timeline is not None:
            await self._learn(state.system, state.timeline)

    async def _learn(self, system: str, timeline: int) -> None:
        before = self._timelines.get(system, 0)
        if timeline <= before:
            return
        self._timelines = {**self._timelines, system: timeline}
        # Sessions on the former timeline would still accept writes.
        self.renew()
        if before:
            log.warning("timeline_advanced", before=before, now=timeline)
        file = self.file
        if file is None or not self._writes:
            return
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await in_thread("timeline", lambda: _write(file, system, timeline))
        except OSError as error:
            reason = error.strerror or f"no answer within {_WRITE_SECONDS:.0f} s"
            log.warning("timeline_not_written", file=str(file), reason=reason)

    def renew(self) -> None:
        """Replace every session that is open now before its next use."""
        self._renewed_at = time.monotonic()

    def is_current(self, session: Session) -> bool:
        """Return whether a session was chosen after the last `renew` and is not superseded."""
        return session.chosen_at >= self._renewed_at and not self.is_superseded(session)

    def is_superseded(self, session: Session) -> bool:
        """Return whether a higher timeline than that of the session is known."""
        state = session.state
        if state.system is None or state.timeline is None:
            return False
        return state.timeline < self._timelines.get(state.system, 0)

    async def choose(
        self, candidates: Mapping[str, Session], *, compare_revisions: bool
    ) -> tuple[Session | None, Mapping[str, str]]:
        """Return the session to use, or None, and the reason for each refused host.

        Prefer the cluster in use, then the highest timeline.
        """
        refused: dict[str, str] = {}
        chosen: Session | None = None
        for host, session in sorted(candidates.items(), key=self._rank, reverse=True):
            reason = self._refusal(session)
            if reason is None and compare_revisions and await self.is_behind(session):
                reason = "it has fewer revisions than this process has read"
            if reason is not None:
                refused[host] = reason
            elif chosen is None:
                chosen = session
        if chosen is not None:
            chosen.chosen_at = time.monotonic()
            system = chosen.state.system
            if self._system not in {None, system}:
                log.warning("database_cluster_changed", before=self._system, now=system)
            self._system = system
        self.is_found = chosen is not None
        return chosen, refused

    def _rank(self, candidate: tuple[str, Session]) -> tuple[bool, int]:
        state = candidate[1].state
        return state.system == self._system, state.timeline or 0

    def _refusal(self, session: Session) -> str | None:
        if not self.is_superseded(session):
            return None
        highest = self._timelines[session.state.system or ""]
        return f"it is on timeline {session.state.timeline}, but timeline {highest} exists"

    def record_refusals(self, answered: Iterable[str], refused: Mapping[str, str]) -> None:
        """Store which of the hosts were refused, and log new refusals."""
        for host in answered:
            if host not in refused:
                self.refused.pop(host, None)
        for host, reason in refused.items():
            if self.refused.get(host) != reason:
                log.error("database_server_refused", host=host, reason=reason, advice=self._advice)
            self.refused[host] = reason

    def review(self, address: tuple[str, int], session: Session | None) -> None:
        """Store whether a watched host is refused. The session is None if its query failed."""
        host = f"{address[0]}:{address[1]}"
        if session is None or not session.state.takes_writes:
            self.record_refusals([host], {})
        elif reason := self._refusal(session):
            self.record_refusals([host], {host: reason})

    @property
    def _advice(self) -> str:
        file = f", delete {self.file}," if self.file else ""
        return (
            "Stop this server or make it a standby. If it was restored and must be used: stop "
            f"every instance{file} and start them again."
        )


async def _is_never_behind(_: Session) -> bool:
    return False


def _read(file: Path | None) -> dict[str, int]:
    if file is None:
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("timeline_not_read", file=str(file), error=type(error).__name__)
        return {}


def _write(file: Path, system: str, timeline: int) -> None:
    """Add a timeline to those that other processes have written. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    with exclusive_in(file.parent):
        known: dict[str, Any] = _read(file)
        highest = max(timeline, known.pop(system, 0))
        latest = [*known.items(), (system, highest)][-_SYSTEMS_MAX:]
        try:
            with draft.open("xb") as opened:
                opened.write(msgspec.json.encode(dict(latest)))
                opened.flush()
                os.fsync(opened.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
