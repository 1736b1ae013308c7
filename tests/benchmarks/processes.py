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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processor import LOAD, SERVICE, ProcessorTime, pinned, processor_time
from tests.paths import ROOT

START_SECONDS = 60
_STOP_SECONDS = 30
_POLL_SECONDS = 0.02
_LOG_CHARACTERS = 1_000
_HEAD_BYTES = 40
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
    """Run an instance with its embedded PostgreSQL."""
    variables = {"DATABASE_POOL_MAX": "10", **variables}
    with instance(folder, *(command or ("app", "serve")), **variables) as server:
        token = (folder / "admin-token").read_text().strip()
        yield Service(port=server.port, pid=server.pid, folder=folder, token=token)


@contextmanager
def instance(folder: Path, *command: str, **variables: str) -> Iterator[Server]:
    """Run an instance like production: it logs in JSON, and logs 1 % of successful reads.

    It has one core, with an embedded PostgreSQL. This process has another one meanwhile.
    """
    port = free_port()
    variables = {
        "DATA_DIR": str(folder),
        "PORT": str(port),
        "LOG_FORMAT": "json",
        "REQUEST_LOG_SAMPLE": "100",
        **variables,
    }
    arguments = [sys.executable, "-m", *command]
    url, log = f"http://127.0.0.1:{port}/health/ready", folder / f"service-{port}.log"
    # Without its database or upstream it serves its copy on the disk, and its status is `warn`.
    with running(arguments, url, variables, log, expected=b'"status":"pass"') as pid:
        yield Server(port=port, pid=pid)


@contextmanager
def floor(body_bytes: int) -> Iterator[Server]:
    """Run the bare handlers."""
    port = free_port()
    arguments = [sys.executable, "-m", "tests.benchmarks.floor", str(port), str(body_bytes)]
    with running(arguments, f"http://127.0.0.1:{port}/") as pid:
        yield Server(port=port, pid=pid)


@contextmanager
def running(
    arguments: Sequence[str],
    url: str,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
    expected: bytes = b"",
) -> Iterator[int]:
    """Run a server on its core, and this process on another one.

    Yields its process id once the answer at the URL contains the expected bytes.
    """
    with ExitStack() as stack:
        stderr = stack.enter_context(log.open("wb")) if log else None
        with pinned(SERVICE):
            child = subprocess.Popen(
                arguments, cwd=ROOT, env={**os.environ, **(variables or {})}, stderr=stderr
            )
        stack.callback(_end, child)
        stack.enter_context(pinned(LOAD))
        _wait_for(url, child, log, expected)
        yield child.pid


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait_for(url: str, child: subprocess.Popen[bytes], log: Path | None, expected: bytes) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url, expected):
        if child.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(errors="replace")[-_LOG_CHARACTERS:] if log else ""
            raise RuntimeError(f"{url} does not answer. {text}")
        time.sleep(_POLL_SECONDS)


def _answers(url: str, expected: bytes) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own service
            return expected in answer.read(_HEAD_BYTES)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
