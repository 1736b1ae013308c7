"""An embedded PostgreSQL 18 for machines that have none: the wheel's binaries, our own launcher.

The wheel's launcher is not used: it trusts every local user, opens the permissions of parent
folders when started as root, takes a reused process id for a running server and gives up after ten
seconds. This one keeps everything in `DATA_DIR/pg18`, listens on a Unix socket alone, asks for
SCRAM passwords, and is shared by all processes that name the same folder.
"""

from app.database.embedded.account import EmbeddedError
from app.database.embedded.server import EmbeddedServer

__all__ = ["EmbeddedError", "EmbeddedServer"]
