"""The operations behind the commands that work both on a database and on a server.

`interface.py` lists them, `local.py` runs the services on a pool, and `remote.py` calls the HTTP
API. Both return the types of the API, so a command prints the same for both.
"""

from collections.abc import Awaitable, Callable
from pkgutil import resolve_name
from typing import TypeVar

from app.cli.backend.interface import Backend
from app.cli.server_options import chosen_server

Result = TypeVar("Result")
Work = Callable[[Backend], Awaitable[Result]]


def run_backend(work: Work[Result]) -> Result:
    """Run the work on the server that --url or FLAGSTONE_URL names, else on the database.

    Only the module that is needed is imported.
    """
    server = chosen_server()
    if server is None:
        result: Result = resolve_name("app.cli.backend.local:run_local")(work)
    else:
        result = resolve_name("app.cli.backend.remote:run_remote")(work, server)
    return result
