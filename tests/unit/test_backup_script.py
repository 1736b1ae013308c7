"""Taking pg_restore's script apart, wherever its pieces happen to be cut."""

import random
from collections.abc import Iterator

import pytest

from app.backups.errors import BackupError
from app.backups.script import Copy, Script

_ROWS = b"1\ta\n2\t\\\\.\n3\tb\\nc\n\\\\.x\n"
_SCRIPT = (
    b"\\restrict abc\n"
    b"SET statement_timeout = 0;\nSET transaction_timeout = 0;\n"
    b"CREATE TABLE t (a int);\n"
    b"COPY flagstone.t (a, b) FROM stdin;\n" + _ROWS + b"\\.\n\n"
    b"COPY flagstone.empty (a) FROM stdin;\n\\.\n\n\n"
    b"ALTER TABLE t ADD x int;\n"
    b"\\unrestrict abc\n"
)
_PIECES = [
    b"SET statement_timeout = 0;\nCREATE TABLE t (a int);",
    (b"COPY flagstone.t (a, b) FROM stdin;", _ROWS),
    b"",
    (b"COPY flagstone.empty (a) FROM stdin;", b""),
    b"ALTER TABLE t ADD x int;",
]


def _taken(script: bytes, sizes: Iterator[int]) -> list[object]:
    rest = script

    def read() -> bytes:
        nonlocal rest
        size = next(sizes)
        content, rest = rest[:size], rest[size:]
        return content

    return [
        (piece.statement.strip(), b"".join(piece.rows))
        if isinstance(piece, Copy)
        else piece.strip()
        for piece in Script(read).pieces()
    ]


def _always(size: int) -> Iterator[int]:
    while True:
        yield size


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 10_000])
def test_the_pieces_are_the_same_however_they_come(size: int) -> None:
    assert _taken(_SCRIPT, _always(size)) == _PIECES


def test_the_pieces_are_the_same_when_they_come_at_random() -> None:
    for seed in range(50):
        numbers = random.Random(seed)  # noqa: S311 - spreads the cuts
        assert _taken(_SCRIPT, iter(lambda: numbers.randint(1, 30), 0)) == _PIECES  # noqa: B023


def test_an_end_in_the_middle_of_rows_is_an_error() -> None:
    cut = _SCRIPT[: _SCRIPT.index(b"3\tb")]

    with pytest.raises(BackupError, match="in the middle of a table"):
        _taken(cut, _always(8))
