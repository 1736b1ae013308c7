"""The flagd document of a snapshot as bytes, for `flags.json` and for flagd's sync service.

The document is created in a thread, once for all clients that wait for it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

from app.configuration.changes.models import Content, Kind
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.transfer.document_writer import pretty
from app.configuration.transfer.evaluator_document import FORM, evaluator_document
from app.threads import in_thread

_LEFT_OUT = "Flagstone-Left-Out"
# Proxies refuse long headers.
_KEYS_SHOWN_MAX = 10


class FlagdDocument(NamedTuple):
    """The document as JSON, and the flags that it cannot have."""

    body: bytes
    left_out: Sequence[str]


_DOCUMENTS: WeakKeyDictionary[Snapshot, asyncio.Future[FlagdDocument]] = WeakKeyDictionary()


def document_etag(snapshot: Snapshot) -> str:
    """Return the entity tag of the document. Changes of settings do not change it."""
    return f'"{FORM}-{snapshot.rules.digest:032x}-{snapshot.epoch[:8]}"'


def left_out_header(keys: Sequence[str]) -> dict[str, str]:
    """Return the header that lists the flags that a flagd document cannot have."""
    if not keys:
        return {}
    rest = len(keys) - _KEYS_SHOWN_MAX
    more = [f"and {rest} more"] if rest > 0 else []
    return {_LEFT_OUT: ", ".join([*keys[:_KEYS_SHOWN_MAX], *more])}


async def flagd_document(snapshot: Snapshot) -> FlagdDocument:
    """Return the flags and segments of a snapshot as JSON."""
    making = _DOCUMENTS.get(snapshot)
    if making is None:

        def make() -> FlagdDocument:
            entries = {
                key: Content.of(entry.configuration)
                for key, entry in snapshot.entries.items()
                if entry.kind in {Kind.FLAG, Kind.SEGMENT}
            }
            document, left_out = evaluator_document(snapshot.environment, entries, snapshot.limits)
            return FlagdDocument(pretty(document), sorted(left_out))

        making = asyncio.ensure_future(in_thread("write document", make))
        making.add_done_callback(partial(_forget_failed, snapshot))
        _DOCUMENTS[snapshot] = making
    # A client that leaves must not cancel the document of the others.
    return await asyncio.shield(making)


def _forget_failed(snapshot: Snapshot, making: asyncio.Future[FlagdDocument]) -> None:
    """Forget a document that failed, so that the next request tries again."""
    if making.cancelled() or making.exception() is not None:
        _DOCUMENTS.pop(snapshot, None)
