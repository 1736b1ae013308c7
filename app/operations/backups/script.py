"""What pg_restore writes, taken apart: statements, and the rows that go into COPY.

It is applied over a connection of ours, so that its COMMIT is ours too: pg_restore's own would come
as soon as it had read the last row, before anybody knows whether the file was whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from app.operations.backups.errors import BackupError

_END = b"\n\\.\n"
# What pg_restore says above each thing, and below that for some partitions. A function may well
# hold a line that looks like COPY, and hardly all of this above it.
_THING, _TABLE = b"-- Name: ", b"-- Data for Name: "
_FRAME = {b"--\n", b"\n"}
_ROOT = b"-- load via partition root "
_COMPLETE = b"-- PostgreSQL database dump complete\n"
# Above the first thing. A setting of 17 that pg_restore 17 and newer asks for, whatever the server
# is: ours has no limit anyway. The other, and its end, are for psql alone.
_SKIPPED = (b"SET transaction_timeout = 0;\n", b"\\restrict ")
_SKIPPED_AT_END = b"\\unrestrict "


@dataclass(frozen=True)
class Copy:
    """A COPY and its rows, which are gone once the next piece is taken."""

    statement: bytes
    rows: Iterator[bytes]


class Script:
    """The pieces of a script, read as they come; `read` returns nothing at its end."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._rest = b""

    def pieces(self) -> Iterator[bytes | Copy]:
        """Yield statements, any number in one piece, and COPYs. Raises BackupError."""
        lines: list[bytes] = []
        has_table = False
        skipped: tuple[bytes, ...] = _SKIPPED
        while line := self._line():
            if has_table and line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
                yield b"".join(lines)
                lines = []
                rows = self._rows()
                yield Copy(line, rows)
                for _ in rows:  # what nobody wanted
                    pass
            elif not line.startswith(skipped):
                lines.append(line)
            is_frame = line in _FRAME or line.startswith(_ROOT)
            has_table = line.startswith(_TABLE) or (has_table and is_frame)
            if line.startswith((_THING, _TABLE)):
                skipped = ()
            elif line == _COMPLETE:
                skipped = (_SKIPPED_AT_END,)
        yield b"".join(lines)

    def _line(self) -> bytes:
        while (at := self._rest.find(b"\n")) < 0:
            content = self._read()
            if not content:
                line, self._rest = self._rest, b""
                return line
            self._rest += content
        line, self._rest = self._rest[: at + 1], self._rest[at + 1 :]
        return line

    def _rows(self) -> Iterator[bytes]:
        # The line break before the first row is not of the rows; an end without rows has one too.
        kept, skip = b"\n" + self._rest, 1
        while (at := kept.find(_END)) < 0:
            content = self._read()
            if not content:
                raise BackupError("pg_restore ended in the middle of a table")
            edge = max(0, len(kept) - len(_END) + 1)
            yield kept[skip:edge]
            kept, skip = kept[edge:] + content, max(0, skip - edge)
        yield kept[skip : at + 1]
        self._rest = kept[at + len(_END) :]


def apply(
    connection: psycopg.Connection[tuple[object, ...]], script: Iterator[bytes | Copy]
) -> None:
    """Run a script in the caller's transaction. Raises psycopg.Error, and what the script does."""
    for piece in script:
        if isinstance(piece, Copy):
            with connection.cursor() as cursor, cursor.copy(piece.statement) as copy:
                for rows in piece.rows:
                    copy.write(rows)
        elif piece.strip():
            connection.execute(piece)
