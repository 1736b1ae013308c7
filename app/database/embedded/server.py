"""Start and stop the embedded server, which all processes with the same folder share."""

from pathlib import Path

from app.database.embedded.account import Account, choose_account
from app.database.embedded.cluster import MAJOR, START_SECONDS, STOP_SECONDS, Cluster
from app.database.embedded.locks import FolderLocks
from app.log import logger
from app.private_files import make_data_folder
from app.settings import Target

log = logger(__name__)


class EmbeddedServer:
    """The server with its data in `data_dir/pg18`. Every method blocks: call it in a thread.

    `patience` multiplies the limits of its start and its stop.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        account: str | None = None,
        options: tuple[str, ...] = (),
        patience: int = 1,
    ) -> None:
        self._home = data_dir
        self._account_name = account
        self._cluster = Cluster(data_dir, options, patience)
        wait_seconds = (START_SECONDS + STOP_SECONDS) * patience
        self._locks = FolderLocks(data_dir, f"pg{MAJOR}", wait_seconds=wait_seconds)
        # Exists after `stop`: services that still run must not restart the server.
        self._stopped = data_dir / f"pg{MAJOR}.stopped"

    @property
    def superuser(self) -> Target:
        """The target of the superuser. Its password is stored only in the data folder."""
        return self._cluster.superuser

    @property
    def exists(self) -> bool:
        """Whether the data folder exists. If not, `start` creates it."""
        return self._cluster.exists

    def start(self) -> None:
        """Create the server if needed, start it if needed, and register as one of its users.

        Raises EmbeddedError if the server cannot be created, or one of the two takes over 60 s.
        """
        make_data_folder(self._home)
        account = self._account()
        self._locks.join()
        with self._locks.exclusive():
            self._stopped.unlink(missing_ok=True)
            if not self._cluster.exists:
                log.info("creating_embedded_server", folder=str(self._cluster.data))
                self._cluster.create(account)
            if self._cluster.postmaster() is None:
                self._cluster.launch(account)
            else:
                self._cluster.wait_until_ready()

    def ensure_running(self) -> bool:
        """Restart the server if it died without `stop`. Return whether it was restarted."""
        if self._stopped.exists() or self._cluster.postmaster() is not None:
            return False
        with self._locks.exclusive():
            if self._stopped.exists() or self._cluster.postmaster() is not None:
                return False
            log.warning("embedded_server_died")
            self._cluster.launch(self._account())
            return True

    def leave(self) -> None:
        """Unregister as a user. Stop the server if no other process uses it."""
        with self._locks.exclusive():
            if self._locks.leave():
                self._cluster.shut_down()

    def stop(self) -> bool:
        """Stop the server, even if it is in use, until the next `start`. Return whether it ran."""
        if not self._cluster.exists:
            return False
        with self._locks.exclusive():
            self._stopped.touch(mode=0o600)
            return self._cluster.shut_down()

    def _account(self) -> Account:
        # Existing data keep their owner, even if an account was added to the machine later.
        folder = self._cluster.data if self._cluster.exists else self._home
        return choose_account(folder, self._account_name)
