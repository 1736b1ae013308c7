"""Ask the service of this host for its state, for the health check of a container.

A container runs this every few seconds, so it imports only the standard library. It reads HOST and
PORT from the environment, and no other setting.
"""

import os
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException

SECONDS = 5.0
# The address to call when the service listens on every address.
_LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared


def local_address(host: str) -> str:
    """Return the address, in brackets if it has colons, at which this host reaches the service."""
    first = _LOOPBACK.get(host, host)
    return f"[{first}]" if ":" in first and not first.startswith("[") else first


def probe(state: str) -> str | None:
    """Return None if the service is `live`, `started` or `ready`, otherwise the problem."""
    host = local_address(os.environ.get("HOST", "").split(",")[0].strip() or "127.0.0.1")
    port = os.environ.get("PORT", "").strip() or "8080"
    url = f"http://{host}:{port}/health/{state}"
    try:
        with closing(HTTPConnection(f"{host}:{port}", timeout=SECONDS)) as connection:
            connection.request("GET", f"/health/{state}")
            status = connection.getresponse().status
    except (OSError, HTTPException, OverflowError, ValueError) as error:
        return f"{url} cannot be reached: {_reason(error)}"
    return None if status == 200 else f"{url} answered {status}"


def run() -> None:
    """Run `probe` without the command line."""
    problem = probe("ready")
    sys.exit(f"error: {problem}" if problem else 0)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:g} s"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return "no HTTP answer. Check HOST and PORT"
