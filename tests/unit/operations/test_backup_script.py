"""The script of pg_restore is split into the same pieces for any size of chunks."""

import random
from collections.abc import Iterator

import pytest

from app.operations.backups.errors import BackupError
from app.operations.backups.restore_script import CopyData, ScriptReader

_ROWS = b"1\ta\n2\t\\\\.\n3\tb\\nc\n\\\\.x\n"
# For example in the body of a function.
_BODY = (
    b"CREATE FUNCTION f() RETURNS text AS $$\n"
    b"COPY flagstone.t (a) FROM stdin;\n"
    b"\\restrict abc\nSET transaction_timeout = 0;\n\\unrestrict abc\n$$;\n"
)
_DATA = b"--\n-- Data for Name: t; Type: TABLE DATA; Schema: flagstone; Owner: -\n--\n\n"
_ROOT = b"-- load via partition root flagstone.empty\n\n"
_THING = b"--\n-- Name: t; Type: TABLE; Schema: flagstone; Owner: -\n--\n\n"
_COMPLETE = b"--\n-- PostgreSQL database dump complete\n--\n\n"
_SCRIPT = (
    b"\\restrict abc\n"
    b"SET statement_timeout = 0;\nSET transaction_timeout = 0;\n"
    + (_THING + _BODY)
    + (_DATA + b"COPY flagstone.t (a, b) FROM stdin;\n" + _ROWS + b"\\.\n\n")
    + (_DATA + _ROOT + b"COPY flagstone.empty (a) FROM stdin;\n\\.\n\n\n")
    + (_THING + b"ALTER TABLE t ADD x int;\n")
    + (_COMPLETE + b"\\unrestrict abc\n")
)
_PIECES = [
    (b"SET statement_timeout = 0;\n" + _THING + _BODY + _DATA).strip(),
    (b"COPY flagstone.t (a, b) FROM stdin;", _ROWS),
    (_DATA + _ROOT).strip(),
    (b"COPY flagstone.empty (a) FROM stdin;", b""),
    (_THING + b"ALTER TABLE t ADD x int;\n" + _COMPLETE).strip(),
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
        if isinstance(piece, CopyData)
        else piece.strip()
        for piece in ScriptReader(read).pieces()
    ]


def _always(size: int) -> Iterator[int]:
    while True:
        yield size


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 10_000])
def test_script_pieces_are_independent_of_chunk_size(size: int) -> None:
    assert _taken(_SCRIPT, _always(size)) == _PIECES


def test_script_pieces_are_independent_of_random_chunks() -> None:
    for seed in range(50):
        numbers = random.Random(seed)  # noqa: S311 - spreads the cuts
        assert _taken(_SCRIPT, iter(lambda: numbers.randint(1, 30), 0)) == _PIECES  # noqa: B023


def test_script_that_ends_within_rows_is_an_error() -> None:
    cut = _SCRIPT[: _SCRIPT.index(b"3\tb")]

    with pytest.raises(BackupError, match="in the middle of a table"):
        _taken(cut, _always(8))
