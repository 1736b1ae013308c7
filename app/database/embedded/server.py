"""One embedded server, shared by every process that names the same folder."""

from pathlib import Path

from app.database.embedded.account import Account, choose_account
from app.database.embedded.cluster import MAJOR, START_SECONDS, STOP_SECONDS, Cluster
from app.database.embedded.locks import FolderLocks
from app.log import logger
from app.settings import Target

log = logger(__name__)


class EmbeddedServer:
    """The server whose data is in `data_dir/pg18`. Every method blocks; use it from a thread."""

    def __init__(
        self, data_dir: Path, *, account: str | None = None, options: tuple[str, ...] = ()
    ) -> None:
        self._home = data_dir
        self._wanted_account = account
        self._cluster = Cluster(data_dir, options)
        self._locks = FolderLocks(data_dir, f"pg{MAJOR}", wait_seconds=START_SECONDS + STOP_SECONDS)
        # Exists after an explicit stop: services that still run must not start it again.
        self._stopped = data_dir / f"pg{MAJOR}.stopped"

    @property
    def superuser(self) -> Target:
        """The superuser's way in. Its password never leaves the data folder."""
        return self._cluster.superuser

    @property
    def is_made(self) -> bool:
        """Whether there is data of a server, which `start` would otherwise make."""
        return self._cluster.exists

    def start(self) -> None:
        """Have a running server that answers, and count as one of its users.

        Raises EmbeddedError when it cannot be made or does not answer within a minute.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        account = self._account()
        self._locks.join()
        with self._locks.alone():
            self._stopped.unlink(missing_ok=True)
            if not self._cluster.exists:
                log.info("embedded_server_made", folder=str(self._cluster.data))
                self._cluster.make(account)
            if self._cluster.postmaster() is None:
                self._cluster.launch(account)
            else:
                self._cluster.wait_until_ready()

    def ensure_running(self) -> bool:
        """Start the server again if it died and was not stopped. Returns whether it had to."""
        if self._stopped.exists() or self._cluster.postmaster() is not None:
            return False
        with self._locks.alone():
            if self._stopped.exists() or self._cluster.postmaster() is not None:
                return False
            log.warning("embedded_server_died")
            self._cluster.launch(self._account())
            return True

    def leave(self) -> None:
        """Stop counting as a user, and stop the server when no other process uses it."""
        with self._locks.alone():
            if self._locks.leave():
                self._cluster.shut_down()

    def stop(self) -> bool:
        """Stop the server, even if it is used, until the next `start`; return whether it ran."""
        if not self._cluster.exists:
            return False
        with self._locks.alone():
            self._stopped.touch(mode=0o600)
            return self._cluster.shut_down()

    def _account(self) -> Account:
        # Data that is there keeps its owner, whatever accounts the machine has got since.
        folder = self._cluster.data if self._cluster.exists else self._home
        return choose_account(folder, self._wanted_account)
