"""Run the measured services as separate processes in separate folders."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT

START_SECONDS = 60
LOCAL = "/v1/environments/local"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running process that answers."""

    port: int
    pid: int


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

    def put(self, key: str, body: bytes, version: int = 0) -> bytes:
        """Return the bytes of a write to the local environment, over this version or a new one."""
        condition = f'If-Match: "{version}"' if version else "If-None-Match: *"
        return self.request("PUT", f"{LOCAL}/configurations/{key}", f"{condition}\r\n", body)


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
    """Run an instance like production: it logs in JSON, and logs 1 % of successful reads."""
    port = _free_port()
    environment = {
        **os.environ,
        "DATA_DIR": str(folder),
        "PORT": str(port),
        "LOG_FORMAT": "json",
        "REQUEST_LOG_SAMPLE": "100",
        "DATABASE_POOL_MAX": "10",
        **variables,
    }
    arguments = [sys.executable, "-m", *(command or ("app", "serve"))]
    with (folder / f"service-{port}.log").open("wb") as log:
        child = subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=log)
        with _ending(child):
            _wait_for(f"http://127.0.0.1:{port}/health/ready")
            token = (folder / "admin-token").read_text().strip()
            yield Service(port=port, pid=child.pid, token=token)


@contextmanager
def floor(body_bytes: int) -> Iterator[Server]:
    """Run the bare handlers."""
    port = _free_port()
    arguments = [sys.executable, "-m", "tests.benchmarks.floor", str(port), str(body_bytes)]
    child = subprocess.Popen(arguments, cwd=ROOT)
    with _ending(child):
        _wait_for(f"http://127.0.0.1:{port}/")
        yield Server(port=port, pid=child.pid)


@contextmanager
def _ending(child: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        child.terminate()
        child.wait(30)


def _wait_for(url: str) -> None:
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
