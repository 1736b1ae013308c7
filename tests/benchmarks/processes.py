"""Run the measured services as separate processes in separate folders."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.benchmarks.processor import LOAD, SERVICE, ProcessorTime, pinned, processor_time
from tests.paths import ROOT

START_SECONDS = 60
_STOP_SECONDS = 30
LOCAL = "/v1/environments/local"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running process that answers."""

    port: int
    pid: int
    folder: Path | None = None

    def processor_time(self) -> ProcessorTime:
        return processor_time(self.pid, self.folder)


@dataclass(frozen=True, kw_only=True)
class Service(Server):
    """A running instance with requests that it accepts."""

    token: str

    def request(self, method: str, path: str, headers: str = "", body: bytes = b"") -> bytes:
        """Return the bytes of a request with the administrator's token."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{head}{headers}\r\n".encode() + body

    def put(self, key: str, body: bytes, version: int = 0, environment: str = "local") -> bytes:
        """Return the bytes of a write over this version, or of a new entry."""
        condition = f'If-Match: "{version}"' if version else "If-None-Match: *"
        path = f"/v1/environments/{environment}/configurations/{key}"
        return self.request("PUT", path, f"{condition}\r\n", body)


@contextmanager
def data_folder() -> Iterator[Path]:
    """Yield a folder that an unprivileged server account can enter."""
    folder = Path(tempfile.mkdtemp(prefix="flagstone-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def service(folder: Path, *command: str, **variables: str) -> Iterator[Service]:
    """Run an instance like production: it logs in JSON, and logs 1 % of successful reads.

    It has one core, with its embedded PostgreSQL. This process has another one meanwhile.
    """
    port = free_port()
    variables = {
        "DATA_DIR": str(folder),
        "PORT": str(port),
        "LOG_FORMAT": "json",
        "REQUEST_LOG_SAMPLE": "100",
        "DATABASE_POOL_MAX": "10",
        **variables,
    }
    arguments = [sys.executable, "-m", *(command or ("app", "serve"))]
    with (
        (folder / f"service-{port}.log").open("wb") as log,
        running(arguments, variables, log) as pid,
    ):
        wait_for(f"http://127.0.0.1:{port}/health/ready")
        token = (folder / "admin-token").read_text().strip()
        yield Service(port=port, pid=pid, folder=folder, token=token)


@contextmanager
def floor(body_bytes: int) -> Iterator[Server]:
    """Run the bare handlers."""
    port = free_port()
    arguments = [sys.executable, "-m", "tests.benchmarks.floor", str(port), str(body_bytes)]
    with running(arguments) as pid:
        wait_for(f"http://127.0.0.1:{port}/")
        yield Server(port=port, pid=pid)


@contextmanager
def running(
    arguments: Sequence[str],
    variables: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
) -> Iterator[int]:
    """Run a server on its core, and this process on another one."""
    with pinned(SERVICE):
        child = subprocess.Popen(
            arguments, cwd=ROOT, env={**os.environ, **(variables or {})}, stderr=log
        )
    try:
        with pinned(LOAD):
            yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - our own service
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
