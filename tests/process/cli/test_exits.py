"""How commands end: unknown names, no terminal, Ctrl-C, and a closed pipe."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.process.cli.conftest import Run
from tests.waiting import HANG_SECONDS

COMMAND = [sys.executable, "-m", "app"]


def test_errors_name_the_next_step(run: Run, tmp_path: Path) -> None:
    for words, step in (
        (("environment", "show", "nope"), "Run `python -m app environment list`"),
        (("configuration", "get", "local", "nope"), "Run `python -m app configuration list"),
        (("flag", "evaluate", "local", "nope"), "Run `python -m app configuration list"),
        (("token", "show", "nope"), "Run `python -m app token list`"),
        (("environment", "delete", "local", "--version", "9"), "then repeat the command"),
        (("backup", "verify"), "Create one with `python -m app backup create`"),
        (
            ("key", "shred", "local"),
            "must be local to destroy its secrets without return, because standard input is no",
        ),
        (("key", "shred", "local", "--confirm", "x"), "must be local; nothing was changed"),
    ):
        result = run(*words, BACKUP_DIR=str(tmp_path / "none"))
        assert (result.code, result.output) == (1, ""), (words, result)
        assert result.errors.startswith("error: "), (words, result)
        assert step in result.errors, (words, result)


def test_argument_that_is_not_utf8_is_refused(run: Run) -> None:
    for words in (
        ("configuration", "get", "local", "\udcff"),
        ("configuration", "promote", "local", "staging", "a", "\udcff"),
        ("environment", "update", "local", "--metadata", "\udcff"),
        ("flag", "evaluate", "local", "a", "--context", "\udcff"),
    ):
        result = run(*words)
        assert (result.code, "must be UTF-8" in result.errors) == (2, True), (words, result)


@pytest.mark.slow
def test_unreachable_server_is_named_with_its_setting(run: Run) -> None:
    url = "postgresql://a@127.0.0.1:9/d"

    provisioned = run("database", "provision", DATABASE_ADMIN_URL=url)

    assert provisioned.code == 1
    assert "DATABASE_ADMIN_URL: 127.0.0.1:9 refuses connections" in provisioned.errors


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let a child have the default action of SIGINT, which a shell ignores in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interrupts")
def test_interrupted_command_exits_with_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(HANG_SECONDS)
        environ = {"DATABASE_URL": f"postgresql://a@127.0.0.1:{silent.getsockname()[1]}/d"}
        with subprocess.Popen(
            [*COMMAND, "token", "list"],
            cwd=ROOT,
            env={**os.environ, **environ},
            stderr=subprocess.PIPE,
        ) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=HANG_SECONDS)
            connection.close()

    assert process.returncode == 130, errors
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_closed_pipe_ends_a_command_without_a_word() -> None:
    for words in (["--help"], ["seal", "keygen"]):
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(
            [*COMMAND, *words], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False
        )
        os.close(writer)
        assert ended.returncode == 1
        assert b"rror" not in ended.stderr, ended.stderr
