"""Sign rows again, after a change of TOKEN_KEY or a change by hand that was intended.

A command shows the rows first, since anyone with write access to the database can change them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.access.people.edit import AccessEdit, AccessEventName
from app.access.people.models import SignedRow
from app.access.people.rows import person_of, read_book
from app.access.people.signatures import RowSigner
from app.database import Connection, sql

_SIGN: Mapping[str, Any] = {
    "people": sql.sign_people,
    "roles": sql.sign_roles,
    "grants": sql.sign_grants,
    "projects": sql.sign_projects,
}
_PEOPLE_AT_ONCE = 500


async def unsigned_rows(connection: Connection, signer: RowSigner) -> list[SignedRow]:
    """Return the rows whose MAC is wrong."""
    unsigned: list[SignedRow] = []
    await read_book(connection, signer, unsigned)
    after = ""
    while True:
        rows = sql.list_people(connection, ids=None, after=after, page_size=_PEOPLE_AT_ONCE)
        people = [person_of(row) async for row in rows]
        await signer.genuine(people, unsigned)
        if len(people) < _PEOPLE_AT_ONCE:
            return unsigned
        after = people[-1].id


async def sign(edit: AccessEdit, shown: Sequence[SignedRow]) -> int:
    """Sign the rows that an operator has seen, and return how many there were.

    A row that changed since is skipped: its MAC is that of what was shown.
    """
    await edit.lock()
    for table, statement in _SIGN.items():
        rows = [edit.signer.signed(row) for row in shown if row.signed[0] == table]
        if rows:
            await statement(
                edit.connection,
                ids=[row.signed[1] for row in rows],
                macs=[row.mac for row in rows],
            )
            await edit.record(
                AccessEventName.ROWS_SIGNED, table, reason="", after={"rows": len(rows)}
            )
    return len(shown)
