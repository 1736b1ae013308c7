"""`relay`: serve the state of another instance, without a database."""

import os
from typing import Annotated

import typer

from app.cli.serve import serve_relay


def relay(
    upstream: Annotated[
        str | None,
        typer.Option(help="URL of the service or relay to follow. Default: RELAY_UPSTREAM."),
    ] = None,
) -> None:
    """Run a relay until Ctrl-C or SIGTERM.

    It follows another instance over HTTP, and serves evaluations, reads and streams from memory. It
    has no database, and refuses writes with 421.

    Example: PORT=8081 python -m app relay --upstream http://127.0.0.1:8080

    Works on: DATA_DIR, which has the encrypted snapshots of the upstream.

    Needs: RELAY_TOKEN, a token of the upstream with the scope relay.
    """
    if upstream is not None:
        os.environ["RELAY_UPSTREAM"] = upstream
    serve_relay()
