"""The refresh of the vault: read the data keys every two seconds, and report missing keys."""

from collections.abc import Iterable, Mapping

from prometheus_client import Metric

from app.components import HealthCheck, ReportScope, Status, gauge, gauges
from app.database import Database
from app.database.polling import PolledCopy
from app.secrets.vault import Vault


class VaultRefresh(PolledCopy):
    """Keeps the data keys of a vault up to date."""

    name = "keys"
    poll_seconds = 2.0
    failure_event = "data_keys_not_read"

    def __init__(self, vault: Vault, database: Database) -> None:
        super().__init__()
        self._vault = vault
        self._database = database

    async def start(self) -> None:
        """Unwrap every data key, so that no secret fails later. Raises KeysMissingError."""
        async with self._database.connection() as connection:
            await self._vault.check(connection)

    async def refresh(self) -> None:
        async with self._database.connection() as connection:
            await self._vault.refresh(connection)
        self.failure = None

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        problem = (
            f"data keys not read: {self.failure}"
            if self.failure is not None
            else self._vault.problem(scope.covers)
        )
        check = HealthCheck(
            status=Status.WARN if problem else Status.PASS,
            observed_value=sum(self._vault.counts.values()),
            observed_unit="data keys",
            output=problem,
        )
        return {"keys": check}

    def metrics(self) -> Iterable[Metric]:
        active_since = self._vault.active_since.items()
        yield gauges(
            "flagstone_data_keys",
            "Data keys that are not destroyed, by the key-encryption key that wrapped them.",
            "kek_id",
            self._vault.counts,
        )
        yield gauges(
            "flagstone_data_key_created_timestamp_seconds",
            "Unix time at which the active data key of an environment was created.",
            "environment",
            {environment: created_at.timestamp() for environment, created_at in active_since},
        )
        yield gauge(
            "flagstone_keys_missing",
            "Key-encryption keys that data keys need and that are missing.",
            len(self._vault.missing),
        )
