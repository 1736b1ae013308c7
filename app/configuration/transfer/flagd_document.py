"""The flagd document of a snapshot as bytes, for `flags.json` and for flagd's sync service.

The document is created in a thread, once for all clients that wait for it.
"""

import asyncio
from functools import partial
from weakref import WeakKeyDictionary

from app.configuration.changes.models import Content, Kind
from app.configuration.snapshots.snapshot import Snapshot
from app.configuration.transfer.document_writer import pretty
from app.configuration.transfer.evaluator_document import FORM, evaluator_document
from app.threads import in_thread

_DOCUMENTS: WeakKeyDictionary[Snapshot, asyncio.Future[bytes]] = WeakKeyDictionary()


def document_etag(snapshot: Snapshot) -> str:
    """Return the entity tag of the document. Changes of settings do not change it."""
    return f'"{FORM}-{snapshot.rules.digest:032x}-{snapshot.epoch[:8]}"'


async def flagd_document(snapshot: Snapshot) -> bytes:
    """Return the flags and segments of a snapshot as JSON."""
    making = _DOCUMENTS.get(snapshot)
    if making is None:

        def make() -> bytes:
            entries = {
                key: Content.of(entry.configuration)
                for key, entry in snapshot.entries.items()
                if entry.kind in {Kind.FLAG, Kind.SEGMENT}
            }
            return pretty(evaluator_document(snapshot.environment, entries))

        making = asyncio.ensure_future(in_thread("write document", make))
        making.add_done_callback(partial(_forget_failed, snapshot))
        _DOCUMENTS[snapshot] = making
    # A client that leaves must not cancel the document of the others.
    return await asyncio.shield(making)


def _forget_failed(snapshot: Snapshot, making: asyncio.Future[bytes]) -> None:
    """Forget a document that failed, so that the next request tries again."""
    if making.cancelled() or making.exception() is not None:
        _DOCUMENTS.pop(snapshot, None)
