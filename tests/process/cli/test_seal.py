"""Sealed settings in a pipe, on a terminal, and in a service."""

import asyncio
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from app.database.role_names import APP, MIGRATOR
from app.settings import Target
from tests.database.full_postgres import FullServer, full_server
from tests.paths import ROOT
from tests.process.conftest import CommandResult, Process, run_alone
from tests.waiting import HANG_SECONDS

CANARY = "canary7f3a"
URL = f"postgresql://app:{CANARY}@db.example.org/flagstone"
SEAL = (sys.executable, "-m", "app", "seal")


async def run_seal(folder: Path, *words: str, stdin: str = "", **environ: str) -> CommandResult:
    return await run_alone("seal", *words, environ=environ, stdin=stdin.encode(), cwd=folder)


@pytest.fixture
async def identity(tmp_path: Path) -> dict[str, str]:
    """The environment of a host that has an identity."""
    assert (await run_seal(tmp_path, "keygen", "--out", "identity")).code == 0
    return {"IDENTITY_FILE": str(tmp_path / "identity")}


def on_a_terminal(folder: Path, *words: str, typed: str = "", **environ: str) -> tuple[int, str]:
    """Run a command on a new terminal, and return its exit code and output."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*SEAL, *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        # getpass reads from the controlling terminal, so make this terminal the controlling one.
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # noqa: PLW1509
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(controller, 4096):
                shown += chunk
                if typed and shown.endswith(b": "):
                    os.write(controller, typed.encode() + b"\n")
                    typed = ""
        except OSError:  # the end of a terminal
            pass
        finally:
            os.close(controller)
        return process.wait(HANG_SECONDS), shown.decode()


def files_with(folder: Path, text: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


@pytest.mark.slow
async def test_sealed_value_is_shown_only_on_a_terminal(
    tmp_path: Path, identity: dict[str, str]
) -> None:
    (tmp_path / ".env").write_text(f"# mine\nDATABASE_URL={URL}\nPORT=1\n")
    (tmp_path / ".env").chmod(0o640)

    done = await run_seal(
        tmp_path, "encrypt", "DATABASE_URL", "--env-file", ".env", stdin=URL + "\n", **identity
    )
    checked = await run_seal(tmp_path, "check", **identity)
    piped = await run_seal(tmp_path, "decrypt", "DATABASE_URL", **identity)
    code, shown = on_a_terminal(tmp_path, "decrypt", "DATABASE_URL", **identity)

    assert done == (0, ".env: sealed DATABASE_URL\n", "")
    text = (tmp_path / ".env").read_text()
    assert re.fullmatch(r"# mine\nDATABASE_URL=sealed:age:v1:[A-Za-z0-9_-]+\nPORT=1\n", text)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o640
    assert checked[0] == 0
    assert "DATABASE_URL: sealed, and opens\n    age1" in checked[1]
    assert (piped[0], piped[1]) == (1, "")
    assert "terminal only" in piped[2]
    assert (code, shown.strip()) == (0, URL)
    assert CANARY not in f"{text} {done} {checked} {piped}"


@pytest.mark.slow
def test_value_is_prompted_without_echo(tmp_path: Path, identity: dict[str, str]) -> None:
    words = ("encrypt", "DATABASE_URL", "--env-file", ".env")

    code, shown = on_a_terminal(tmp_path, *words, typed=URL, **identity)

    assert (code, CANARY in shown) == (0, False)
    assert on_a_terminal(tmp_path, "decrypt", "DATABASE_URL", **identity)[1].strip() == URL


# A service, with a password over TCP


@pytest.fixture
async def server() -> AsyncIterator[FullServer]:
    with full_server(tls=True) as running:
        await asyncio.to_thread(running.provisioner.provision)
        yield running


def url_of(target: Target) -> str:
    assert target.password is not None
    assert target.tls.ca is not None
    host, port = target.hosts[0]
    return (
        f"postgresql://{target.user}:{target.password.reveal()}@{host}:{port}/{target.database}"
        f"?sslmode=verify-full&sslrootcert={quote(str(target.tls.ca))}"
    )


@pytest.mark.slow
async def test_production_service_opens_sealed_settings(
    launch: Callable[..., Process],
    server: FullServer,
    tmp_path: Path,
    data_dir: Path,
    identity: dict[str, str],
) -> None:
    values = {
        "DATABASE_URL": url_of(server.target(APP)),
        "DATABASE_MIGRATOR_URL": url_of(server.target(MIGRATOR)),
        "TOKEN_KEY": CANARY * 4,
    }
    environ = {"TIER": "production", **identity}
    for name, value in values.items():
        sealed = await run_seal(tmp_path, "encrypt", name, stdin=value, **identity)
        environ[name] = sealed.output.strip()

    async def refusal(**changed: str) -> str:
        process = launch(**{**environ, **changed})
        await process.start()
        assert process.child is not None
        assert await asyncio.wait_for(process.child.wait(), HANG_SECONDS) == 1
        assert "Traceback" not in process.log
        return process.log

    service = launch(**environ, LOG_LEVEL="debug")
    await service.start()
    await service.ready()
    assert await service.stop() == 0

    await run_seal(tmp_path, "keygen", "--out", "other")
    logs = [
        service.log,
        await refusal(IDENTITY_FILE=str(tmp_path / "other")),
        await refusal(DATABASE_URL=environ["DATABASE_MIGRATOR_URL"]),
        await refusal(DATABASE_URL=values["DATABASE_URL"]),
    ]
    (tmp_path / "identity").chmod(0o640)
    logs.append(await refusal())

    logged = (
        "",
        "for other recipients",
        "for another setting",
        "in clear in production",
        "chmod 600",
    )
    for log, rule in zip(logs, logged, strict=True):
        assert rule in log
        for value in (*values.values(), "AGE-SECRET-KEY"):
            assert value not in log
            assert value.partition("@")[0].rpartition(":")[2] not in log
    assert not files_with(data_dir, CANARY)
