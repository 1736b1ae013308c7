"""Gives snapshots and tokens to the relays of an instance. Every instance can be an upstream."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import msgspec
from aiohttp import hdrs, web
from prometheus_client import Metric

from app.access.credentials import Credentials
from app.access.guard import CALLER, TOKENS, presented_token
from app.access.models import Scope
from app.access.permissions import Rights
from app.components import Component, gauge
from app.configuration.snapshots.event_stream import serve_stream
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.snapshots.source import SnapshotSource
from app.errors import NotFound
from app.http import conditions, wire
from app.http.encoded import EncodedResponse, encoded
from app.relay import lists, protocol
from app.relay.protocol import UpdateHead, UpstreamState
from app.threads import in_thread

# A snapshot with more entries is digested in a thread.
_QUICK_ENTRIES = 1_000
_PORTION_BYTES = 64 * 1024
_UPDATES_MAX = 32
# The streams of relays, in place of an environment.
_STREAMS_LABEL = "(relays)"


class Feed(Component):
    """The state of an instance, as relays get it. `depth` is the number of relays above it."""

    name = "feed"

    def __init__(
        self,
        source: SnapshotSource,
        credentials: Credentials,
        depth: Callable[[], int] = lambda: 0,
    ) -> None:
        self.source = source
        self._credentials = credentials
        self._depth = depth
        # The tokens by the environments of a relay, made from `_usable`.
        self._tokens: dict[frozenset[str], tuple[str, bytes]] = {}
        self._usable: object = None
        # Small updates by their positions: all relays get the same.
        self._updates: dict[tuple[str, str], msgspec.Raw | None] = {}
        self.streams = 0

    def metrics(self) -> Iterable[Metric]:
        yield gauge("flagstone_relay_streams", "Open streams of relays.", self.streams)

    async def prepare(self, rights: Rights) -> None:
        """Load and digest the environments of a relay, large ones in a thread.

        A relay has all of them in memory, so it asks for all. Raises Unavailable. Later snapshots
        continue the digest.
        """
        for name in self._names(rights):
            # An environment that was deleted meanwhile is no part of the state.
            with suppress(NotFound):
                await _digest(await self.source.read(name))

    def is_prepared(self, rights: Rights) -> bool:
        """Whether `state` can be made now, and takes little time.

        After a new epoch it would digest all entries.
        """
        loaded = self.source.loaded()
        return not any(name not in loaded or _is_slow(loaded[name]) for name in self._names(rights))

    def _names(self, rights: Rights) -> list[str]:
        known = self.source.environments()
        return [name for name in known if rights.covers_all(Scope.RELAY, name)]

    def state(self, rights: Rights) -> UpstreamState:
        """Return the state for the environments of a relay. Raises Unavailable."""
        return UpstreamState(
            format=protocol.FORMAT,
            depth=self._depth(),
            environments={name: self.source.get(name).position for name in self._names(rights)},
            tokens=self.tokens(rights)[0],
            stale_seconds=round(self.source.stale_seconds, 1),
            now=self._credentials.now,
        )

    def update(self, snapshot: Snapshot, after: str) -> msgspec.Raw | None:
        """Return the update of an environment since a position, None if it is not small."""
        key = after, snapshot.position
        if key not in self._updates:
            if len(self._updates) >= _UPDATES_MAX:
                self._updates.clear()
            self._updates[key] = _small_update(snapshot, after)
        return self._updates[key]

    def tokens(self, rights: Rights) -> tuple[str, bytes]:
        """Return the entity tag and the JSON of the tokens for the environments of a relay."""
        usable, names = self._credentials.usable, rights.environments(Scope.RELAY, all_keys=True)
        if self._usable is not usable:
            self._usable, self._tokens = usable, {}
        document = self._tokens.get(names)
        if document is None:
            tokens = sorted(
                (token for token in self._credentials.relayed if token.reach.overlaps(names)),
                key=lambda token: token.id,
            )
            # Sorted, since sets have no order, and the tag must not change without a change.
            raw = [msgspec.Raw(msgspec.json.encode(token, order="sorted")) for token in tokens]
            key = self._credentials.relay_key.reveal()
            body = msgspec.json.encode(protocol.Tokens(key=key, tokens=raw))
            document = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"', body
            self._tokens[names] = document
        return document


FEED: web.AppKey[Feed] = web.AppKey("feed", Feed)


def _is_slow(snapshot: Snapshot) -> bool:
    return len(snapshot.entries) > _QUICK_ENTRIES and not snapshot.is_digested


async def _digest(snapshot: Snapshot) -> None:
    """Compute the digest of a snapshot, in a thread if it has many entries."""
    if _is_slow(snapshot):
        await in_thread("digest", lambda: snapshot.entries_digest)


async def get_state(request: web.Request) -> web.Response:
    """Get the positions of all environments, and the entity tag of the tokens."""
    wire.read_query(request, set())
    feed, rights = request.app[FEED], request[CALLER].rights
    await feed.prepare(rights)
    return wire.answer(feed.state(rights))


async def stream_states(request: web.Request) -> web.StreamResponse:
    """Stream the state at once, after each change, and at least every second."""
    wire.read_query(request, set())
    feed, token = request.app[FEED], presented_token(request)
    sent: dict[str, str | None] = {}
    sent_tokens, sent_at = "", 0.0

    def next_messages() -> bytes | None:
        nonlocal sent, sent_tokens, sent_at
        rights = request.app[TOKENS].authenticate(token).rights
        if not feed.is_prepared(rights):
            return None
        state = feed.state(rights)
        changed: dict[str, str | None] = dict.fromkeys(sent.keys() - state.environments.keys())
        changed |= {
            name: position
            for name, position in state.environments.items()
            if sent.get(name) != position
        }
        is_due = time.monotonic() - sent_at >= protocol.BEAT_SECONDS
        if not changed and state.tokens == sent_tokens and not is_due:
            return b""
        news = msgspec.structs.replace(
            state, environments=changed, updates=_updates(feed, changed, sent)
        )
        sent, sent_tokens = dict(state.environments), state.tokens
        sent_at = time.monotonic()
        return b"event: state\ndata: %b\n\n" % msgspec.json.encode(news)

    async def prepared_messages() -> bytes:
        await feed.prepare(request.app[TOKENS].authenticate(token).rights)
        return next_messages() or b""

    feed.streams += 1
    try:
        return await serve_stream(
            *(request, _STREAMS_LABEL, next_messages),
            headers={},
            read_missed=prepared_messages,
        )
    finally:
        feed.streams -= 1


async def get_update(request: web.Request) -> web.StreamResponse:
    """Get an environment: the changes after a revision if they are in memory, else all entries."""
    query = wire.read_query(request, {"after"})
    snapshot = await request.app[FEED].source.read(request.match_info["environment"])
    await _digest(snapshot)
    etag = f'"{snapshot.digest}"'
    if conditions.is_not_modified(request, etag):
        return EncodedResponse(b"", b"ETag: %b\r\n" % etag.encode(), status=304)

    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: protocol.NDJSON, hdrs.ETAG: etag})
    await response.prepare(request)
    for portion in _portions(_lines(snapshot, query.get("after", ""))):
        await response.write(portion)
        await asyncio.sleep(0)  # a fast relay must not hold up the other requests
    await response.write_eof()
    return response


async def get_list(request: web.Request) -> web.StreamResponse:
    """Get a list that an environment of the relay uses."""
    return await lists.send_list(request, request.app[FEED].source)


async def get_tokens(request: web.Request) -> web.Response:
    """Get the tokens that reach the environments of the relay, with the MACs for relays."""
    wire.read_query(request, set())
    etag, body = request.app[FEED].tokens(request[CALLER].rights)
    head = b"ETag: %b\r\n" % etag.encode()
    if conditions.is_not_modified(request, etag):
        return EncodedResponse(b"", head, status=304)
    return encoded(body, "application/json", head)


def _updates(
    feed: Feed, changed: Mapping[str, str | None], sent: Mapping[str, str | None]
) -> list[msgspec.Raw]:
    """Return the small updates of environments that changed since the last state of a stream."""
    updates = []
    for name, position in changed.items():
        before = sent.get(name)
        if position is not None and before is not None:
            update = feed.update(feed.source.get(name), before.rpartition(":")[0])
            if update is not None:
                updates.append(update)
    return updates


def _small_update(snapshot: Snapshot, after: str) -> msgspec.Raw | None:
    keys = _changed_keys(snapshot, after)
    if keys is None or len(keys) > protocol.PUSHED_KEYS_MAX:
        return None
    head, present = _head(snapshot, after, keys)
    bodies = [msgspec.Raw(snapshot.entries[key].body) for key in present]
    update = msgspec.json.encode(protocol.Update(head=head, entries=bodies))
    return msgspec.Raw(update) if len(update) <= protocol.PUSHED_BYTES_MAX else None


def _lines(snapshot: Snapshot, after: str) -> Iterator[bytes]:
    """Yield the lines of an update. `after` is the epoch and the revision that the relay has."""
    head, present = _head(snapshot, after, _changed_keys(snapshot, after))
    yield msgspec.json.encode(head)
    for key in present:
        yield snapshot.entries[key].body
    yield protocol.END


def _head(
    snapshot: Snapshot, after: str, keys: Sequence[str] | None
) -> tuple[UpdateHead, Sequence[str]]:
    """Return the head of an update, and the keys of its entries. `keys` are the changed ones."""
    entries = snapshot.entries
    present = list(entries) if keys is None else [key for key in keys if key in entries]
    revision = None if keys is None else int(after.rpartition(":")[2])
    head = UpdateHead(
        environment=snapshot.environment,
        digest=snapshot.digest,
        after=revision,
        removed=[] if keys is None else [key for key in keys if key not in entries],
        events=[
            event.data for event in snapshot.recent if revision is None or event.revision > revision
        ],
        count=len(present),
    )
    return head, present


def _changed_keys(snapshot: Snapshot, after: str) -> list[str] | None:
    """Return the keys that changed after a position, None if memory does not have the changes."""
    epoch, _, text = after.rpartition(":")
    if epoch != snapshot.epoch or not (text.isascii() and text.isdecimal() and len(text) < 19):
        return None
    revision, recent = int(text), snapshot.recent
    if not recent or not recent[0].revision - 1 <= revision < snapshot.revision:
        return None
    return list(dict.fromkeys(key for e in recent if e.revision > revision for key in e.data.keys))


def _portions(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines to portions of at least 64 KiB."""
    portion: list[bytes] = []
    size = 0
    for line in lines:
        portion += (line, b"\n")
        size += len(line) + 1
        if size >= _PORTION_BYTES:
            yield b"".join(portion)
            portion, size = [], 0
    yield b"".join(portion)
