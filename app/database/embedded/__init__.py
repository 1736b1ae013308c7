"""Run an embedded PostgreSQL 18: the programs of a Python wheel, started by our own launcher.

We do not use the wheel's launcher. It trusts every local user and gives up after 10 seconds. As
root it loosens the permissions of parent folders. It also mistakes a reused process id for a
running server.

Our server stores its data in `DATA_DIR/pg18`, listens only on a Unix socket, and requires SCRAM
passwords. All processes with the same DATA_DIR share it.
"""

from app.database.embedded.account import EmbeddedError
from app.database.embedded.server import EmbeddedServer

__all__ = ["EmbeddedError", "EmbeddedServer"]
