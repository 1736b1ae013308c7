"""Bring the lists that entries name into memory, before the rules that use them are compiled.

A list is read in ranges of hashes, or as the difference from a loaded state of the same store. The
arrays are made in a thread.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from app.configuration.list_data.ranges import hash_ranges
from app.database import Connection, sql
from app.errors import Unavailable
from app.evaluation.lists import (
    FOREVER,
    INLINED_MAX,
    REMOVED,
    HashedList,
    ListContent,
    ListReference,
    list_reference,
    loaded_digests,
    loaded_list,
    register,
)
from app.threads import in_thread

# A list with more changes in memory is read again.
CHANGES_MAX = 20_000


async def load_lists(connection: Connection, values: Iterable[Any]) -> list[HashedList]:
    """Return the lists that the values of segments name. Rules find them while they are held.

    A list that the database does not have is left out: only a damaged database names one.
    """
    lists = []
    for value in values:
        reference = list_reference(value)
        if reference is not None:
            list_ = loaded_list(reference.digest) or await _load(connection, reference)
            if list_ is not None:
                lists.append(list_)
    return lists


async def _load(connection: Connection, reference: ListReference) -> HashedList | None:
    if reference.count > INLINED_MAX:
        changed = await _load_changes(connection, reference)
        if changed is not None:
            return register(changed)
    row = await sql.find_list_state(connection, digest=bytes.fromhex(reference.digest))
    if row is None:
        return None
    content = await _read(connection, reference, row)
    return register(await in_thread("load list", lambda: HashedList(reference, content)))


async def _load_changes(connection: Connection, reference: ListReference) -> HashedList | None:
    """Return the list as changes of a loaded state, None if there is none or it has many."""
    digests = [bytes.fromhex(digest) for digest in loaded_digests()]
    near = await sql.find_nearest_list(
        connection, digest=bytes.fromhex(reference.digest), loaded=digests
    )
    held = loaded_list(near["held_digest"].hex()) if near is not None else None
    if near is None or held is None or held.reference.count <= INLINED_MAX:
        return None
    before, after = near["held_sequence"], near["sequence"]
    rows = sql.list_list_delta(
        connection,
        store=near["store"],
        before=before,
        after=after,
        first=min(before, after),
        last=max(before, after),
        page_size=CHANGES_MAX + 1,
    )
    changes: dict[int, int] = {}
    async for row in rows:
        until = FOREVER if row["expiry"] is None else row["expiry"]
        changes[row["hash"]] = until if row["is_after"] else REMOVED
    if len(changes) + len(held.changes) > CHANGES_MAX:
        return None
    return held.changed(reference, changes)


async def _read(connection: Connection, reference: ListReference, state: Any) -> ListContent:
    store, sequence = state["store"], state["sequence"]
    lasting, expiring = [], []
    for first, last in hash_ranges(reference.count):
        row = await sql.read_list_hashes(
            connection, store=store, sequence=sequence, first=first, last=last
        )
        lasting.append(row["lasting"])
        expiring.append(row["expiring"])
    content = ListContent(
        base=reference.digest,
        salt=state["salt"],
        lasting=b"".join(lasting),
        expiring=b"".join(expiring),
    )
    if len(content.lasting) // 8 + len(content.expiring) // 16 != reference.count:
        raise Unavailable("list_incomplete", "A list in the database lacks some of its values.")
    if reference.count > INLINED_MAX:
        return content
    texts = await sql.read_list_texts(connection, store=store, sequence=sequence)
    return msgspec.structs.replace(
        content,
        lasting_texts=_lines(texts["lasting"]),
        expiring_texts=_lines(texts["expiring"]),
    )


def _lines(text: str | None) -> list[str]:
    return text.split("\n") if text else []
