"""The streams of each environment, and the document that they must send.

Callers with rights for the same keys share a document. A stream has no queue: it sends the latest
document when its client has read the one before. One task for each document creates the message
once and wakes the streams a few at a time, so that the event loop serves other requests in between.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from app.access.models import Scope
from app.access.permissions import Keys, RightsHolder
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import SnapshotSource
from app.configuration.transfer.flagd_document import document_etag, flagd_document
from app.errors import AppError, Forbidden, LimitExceeded, Unavailable
from app.flags.flagd_sync.messages import synced_flags
from app.log import logger
from app.tasks import wait_at_most

log = logger(__name__)

# The interval at which all tokens are checked. Checking 1,000 takes about 2 ms.
CHECK_SECONDS = 0.25
# Clients of gRPC refuse larger messages by default.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
# A stream uses about 30 µs when it is woken.
_WOKEN_AT_ONCE = 50
# A token may use this share of the streams of the process.
_SHARE_OF_TOKEN = 0.5


class SyncStream:
    """One client's stream.

    `authorize` returns the caller. It raises AppError when the token is no longer valid.
    """

    def __init__(self, feed: "SyncFeed", authorize: Callable[[], RightsHolder]) -> None:
        self._authorize = authorize
        self._feed = feed
        self._sent_etag = ""
        self._is_first = True
        self._woken: asyncio.Future[None] | None = None
        self._end: AppError | None = None

    async def next_message(self) -> bytes:
        """Wait for a message that differs from the last one. Raises AppError at the end."""
        while True:
            if self._end is not None:
                raise self._end.with_traceback(None)
            if self._sent_etag != self._feed.etag:
                self._is_first = not self._sent_etag
                self._sent_etag = self._feed.etag
                return self._feed.message
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken

    def sent(self) -> None:
        """Report that the last message was sent. The first one is no delivery of a change."""
        if not self._is_first and self._sent_etag == self._feed.etag:
            self._feed.fan_out_seconds = time.perf_counter() - self._feed.changed_at

    def check(self) -> bool:
        """Wake the stream if it must end or send. Return whether it was woken."""
        if self._end is None:
            try:
                self._feed.check(self._authorize())
            except AppError as error:
                self._end = error
        return self._wake() if self._end or self._sent_etag != self._feed.etag else False

    def end(self, error: AppError) -> None:
        self._end = error
        self._wake()

    def _wake(self) -> bool:
        if self._woken is None or self._woken.done():
            return False
        self._woken.set_result(None)
        return True


class SyncFeed:
    """The streams for some keys of one environment, and their current message.

    It ends with its last stream. `fan_out_seconds` is the time from the last change to its latest
    delivery.
    """

    def __init__(self, environment: str, keys: Keys, source: SnapshotSource) -> None:
        self.environment = environment
        self.keys = keys
        self.etag = ""
        self.message = b""
        self.changed_at = 0.0
        self.fan_out_seconds = 0.0
        self.streams: dict[SyncStream, None] = {}
        self._source = source
        self._is_too_large = False

    async def follow(self) -> None:
        """Send each change to the streams while there are any. Raises NotFound and Unavailable."""
        checked_at = 0.0
        while self.streams:
            # Get the event first, so that no change during the round is missed.
            next_change = self._source.next_change
            snapshot = await self._source.read(self.environment)
            is_new = await self._advance(await self._source.part(snapshot, self.keys))
            # Not while it waits: the next refresh frees the snapshot.
            del snapshot
            now = time.monotonic()
            # Not after each change of a setting: there may be hundreds per second.
            if is_new or now - checked_at >= CHECK_SECONDS:
                checked_at = now
                await self._check_streams()
            await wait_at_most(CHECK_SECONDS, next_change)

    def check(self, caller: RightsHolder) -> None:
        """Raise Forbidden unless the caller may read the keys of this feed, and no others."""
        if caller.rights.keys(Scope.READ, self.environment) != self.keys:
            raise Forbidden("rights_changed", "The rights of the caller have changed.")

    async def _advance(self, snapshot: Snapshot) -> bool:
        """Create the message of the snapshot. Return whether it differs from the last one."""
        etag = document_etag(snapshot)
        if etag == self.etag:
            return False
        started = time.perf_counter()
        self.message = synced_flags((await flagd_document(snapshot)).body)
        self.etag, self.changed_at = etag, started
        is_too_large = len(self.message) > MESSAGE_BYTES_MAX
        if is_too_large and not self._is_too_large:
            log.warning(
                "flagd_sync_message_large",
                environment=self.environment,
                bytes=len(self.message),
                limit=MESSAGE_BYTES_MAX,
                problem="clients of gRPC refuse it unless their limit is raised",
            )
        self._is_too_large = is_too_large
        return True

    async def _check_streams(self) -> None:
        woken = 0
        for stream in list(self.streams):
            woken += stream.check()
            if woken == _WOKEN_AT_ONCE:
                woken = 0
                await asyncio.sleep(0)

    async def end(self, error: AppError) -> None:
        """End every stream with this error."""
        for number, stream in enumerate(list(self.streams), 1):
            stream.end(error)
            if number % _WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)


class SyncFeeds:
    """The feeds of all documents with streams, within the limits of streams."""

    def __init__(self, source: SnapshotSource, streams_max: int) -> None:
        self._source = source
        self._streams_max = streams_max
        self._feeds: dict[tuple[str, Keys], SyncFeed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_holder = Counter[str]()
        self._is_closed = False

    @property
    def open(self) -> Collection[SyncFeed]:
        return self._feeds.values()

    @property
    def count(self) -> int:
        return self._by_holder.total()

    @asynccontextmanager
    async def stream(
        self, environment: str, holder: str, authorize: Callable[[], RightsHolder]
    ) -> AsyncIterator[SyncStream]:
        """Open a stream until the end of the block.

        Raises LimitExceeded, Unavailable when the service stops, and NotFound.
        """
        await self._source.read(environment)
        self._require_room(holder)
        keys = authorize().rights.keys(Scope.READ, environment)
        feed = self._feeds.get((environment, keys)) or self._start(environment, keys)
        stream = SyncStream(feed, authorize)
        feed.streams[stream] = None
        self._by_holder[holder] += 1
        try:
            yield stream
        finally:
            del feed.streams[stream]
            self._by_holder[holder] -= 1
            if not self._by_holder[holder]:
                del self._by_holder[holder]

    def _require_room(self, holder: str) -> None:
        if self._is_closed:
            raise _stopping()
        if self.count >= self._streams_max:
            raise LimitExceeded(
                "streams_exceeded", f"This process has {self._streams_max} streams, its maximum."
            )
        of_holder = max(1, int(self._streams_max * _SHARE_OF_TOKEN))
        if self._by_holder[holder] >= of_holder:
            raise LimitExceeded(
                "streams_exceeded", f"This caller has {of_holder} streams, its maximum."
            )

    def _start(self, environment: str, keys: Keys) -> SyncFeed:
        feed = self._feeds[environment, keys] = SyncFeed(environment, keys, self._source)
        task = asyncio.create_task(self._run(feed), name=f"flagd_sync:{environment}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return feed

    async def _run(self, feed: SyncFeed) -> None:
        end: AppError | None = None
        try:
            await feed.follow()
        except AppError as error:
            end = error
        except Exception:
            log.exception("flagd_sync_feed_failed", environment=feed.environment)
            end = Unavailable("feed_failed", "The flags could not be read. Try again.")
        finally:
            # Before any wait: a new stream must not join a feed that has ended.
            del self._feeds[feed.environment, feed.keys]
        if end is not None:
            await feed.end(end)

    async def close(self) -> None:
        """End all streams. Their clients connect again, to another instance."""
        self._is_closed = True
        for feed in list(self._feeds.values()):
            await feed.end(_stopping())
        for task in list(self._tasks):
            task.cancel()


def _stopping() -> Unavailable:
    return Unavailable("stopping", "This instance stops. Connect again.")
