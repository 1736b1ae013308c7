"""The error of a failed connect is one line with the setting, the server, and what to do."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import psycopg
import pytest

from app.database.client.connector import Connector
from app.database.client.reasons import DatabaseRefusedError, connecting, reason_of
from app.database.role_names import APP
from app.errors import NotFound
from app.settings import DatabaseSettings, Secret, Target, Tls, TlsMode, load
from tests.database.full_postgres import FullServer
from tests.ports import free_port

SETTINGS = replace(
    load({}).database, connect_attempts=2, connect_timeout_seconds=60.0, host_timeout_seconds=30.0
)
UNREACHABLE = Target(
    hosts=(("127.0.0.1", 1),), database="d", user="u", password=Secret("p"), tls=Tls()
)


async def _refusal(
    target: Target, settings: DatabaseSettings | None = None
) -> DatabaseRefusedError:
    settings = settings or replace(SETTINGS, target=target)
    with pytest.raises(DatabaseRefusedError) as refusal, connecting(target, settings):
        await Connector(target, settings)()
    return refusal.value


@contextmanager
def _silent() -> Iterator[int]:
    """Yield the port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_refusal_of_a_closed_port_names_setting_and_attempts() -> None:
    port = free_port()
    refusal = await _refusal(replace(UNREACHABLE, hosts=(("127.0.0.1", port),)))

    assert refusal.may_pass
    assert str(refusal) == (
        f"DATABASE_URL: 127.0.0.1:{port} refuses connections, is PostgreSQL running there? "
        "(tried 2 times)"
    )


async def test_refusal_of_an_unknown_host_names_it() -> None:
    refusal = await _refusal(replace(UNREACHABLE, hosts=(("unknown.invalid", 5432),)))

    assert str(refusal).startswith("DATABASE_URL: unknown.invalid:5432 is unknown, check the host")


async def test_refusal_of_a_silent_host_says_so() -> None:
    with _silent() as port:
        silent = replace(UNREACHABLE, hosts=(("127.0.0.1", port),))
        settings = replace(SETTINGS, target=silent, host_timeout_seconds=0.3)
        refusal = await _refusal(silent, settings)

    assert str(refusal) == f"DATABASE_URL: 127.0.0.1:{port} does not answer (tried 2 times)"


async def test_refusal_names_the_setting_of_its_target() -> None:
    migrator = replace(UNREACHABLE, user="migrator", hosts=(("127.0.0.1", free_port()),))
    named = replace(SETTINGS, target=UNREACHABLE, migrator=migrator, connect_attempts=1)
    embedded = replace(SETTINGS, target=None)

    assert str(await _refusal(migrator, named)).startswith("DATABASE_MIGRATOR_URL: ")
    assert str(await _refusal(migrator, named)).endswith("(tried 1 time)")
    assert str(await _refusal(migrator, embedded)).startswith("the embedded PostgreSQL: ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": Secret("wrong")}, "refuses the role: password authentication failed for"),
        ({"database": "nowhere"}, 'cannot be used: database "nowhere" does not exist'),
        ({"tls": Tls(mode=TlsMode.REQUIRE)}, "offers no TLS, which DATABASE_TLS_MODE demands"),
    ],
)
async def test_refusal_that_cannot_pass_says_why(
    plain_server: FullServer, change: dict[str, object], text: str
) -> None:
    refusal = await _refusal(replace(plain_server.target(APP), **change))  # type: ignore[arg-type]

    assert not refusal.may_pass
    assert text in str(refusal)
    assert "tried" not in str(refusal)
    assert "wrong" not in str(refusal)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "no answer in time"),
        (PermissionError(13, "Permission denied", "/secret"), "permission denied"),
        (socket.gaierror(-2, "Name or service not known"), "the host name is unknown"),
        (asyncpg.UniqueViolationError("duplicate key\nDETAIL: a value"), "duplicate key"),
        (psycopg.OperationalError("connection failed\nmore"), "connection failed"),
        (NotFound("unknown", "There is none."), "There is none."),
        (KeyError("a secret"), "an unexpected error"),
        *(
            (
                locked("canceling statement due to lock timeout"),
                "another transaction keeps a table locked; find it in pg_stat_activity, or wait",
            )
            for locked in (psycopg.errors.LockNotAvailable, asyncpg.LockNotAvailableError)
        ),
    ],
)
def test_reason_is_one_line_without_class_or_number(error: Exception, text: str) -> None:
    assert reason_of(error) == text


def test_reason_of_a_missing_file_has_no_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none") as refusal:
        (tmp_path / "none").read_bytes()

    assert reason_of(refusal.value) == "no such file or directory"
