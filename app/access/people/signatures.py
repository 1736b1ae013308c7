"""The MACs of people, roles, grants and projects.

The key is not in the database. So write access to a table gives no rights: a row with a wrong MAC
is ignored. A row that was replaced by an earlier copy of itself cannot be detected.
"""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from app.access.people.models import SignedRow
from app.crypto.derivation import Purpose, derive
from app.crypto.fields import joined
from app.settings import Secret

# The event loop gets a turn after each slice of this many signed fields, which takes 2 ms.
_SLICE_FIELDS = 4_000
AnyRow = TypeVar("AnyRow", bound=SignedRow)


class RowSigner:
    """Compute and check the MACs of rows. It derives the key once, for thousands of rows."""

    def __init__(self, key: Secret) -> None:
        self._key = derive(key, Purpose.PEOPLE)

    def signed(self, row: AnyRow) -> AnyRow:
        """Return the row with the MAC of its content."""
        return replace(row, mac=self._mac(row))

    def accepts(self, row: SignedRow) -> bool:
        """Return whether the MAC is valid, so that the row was not changed by hand."""
        return hmac.compare_digest(self._mac(row), row.mac)

    async def genuine(
        self, rows: Sequence[AnyRow], unsigned: list[SignedRow] | None = None
    ) -> list[AnyRow]:
        """Return the rows with a valid MAC, and add the others to `unsigned`."""
        genuine, work = [], 0
        for row in rows:
            if self.accepts(row):
                genuine.append(row)
            elif unsigned is not None:
                unsigned.append(row)
            work += len(row.signed)
            if work > _SLICE_FIELDS:
                work = 0
                await asyncio.sleep(0)
        return genuine

    def _mac(self, row: SignedRow) -> bytes:
        return hmac.digest(self._key, joined(*row.signed), "sha256")
