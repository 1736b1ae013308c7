"""The refresh of the vault: read the data keys every two seconds, and report what is missing."""

from collections.abc import Iterable, Mapping

from prometheus_client import Metric

from app.components import Component, HealthCheck, ReportScope, Status, gauge, gauges
from app.database import Database
from app.database.client.faults import SCHEMA_UNFIT
from app.errors import Unavailable
from app.log import logger
from app.secrets.vault import Vault
from app.tasks import repeat

log = logger(__name__)

REFRESH_SECONDS = 2.0


class VaultRefresh(Component):
    """Keeps the data keys of a vault up to date."""

    name = "keys"

    def __init__(self, vault: Vault, database: Database) -> None:
        self._vault = vault
        self._database = database

    async def start(self) -> None:
        """Unwrap every data key, so that no secret fails later. Raises KeysMissingError."""
        async with self._database.connection() as connection:
            await self._vault.check(connection)

    async def run(self) -> None:
        await repeat(lambda: REFRESH_SECONDS, self.run_once)

    async def run_once(self) -> None:
        """Refresh once. Never raises: the known data keys stay in use."""
        try:
            async with self._database.connection() as connection:
                await self._vault.refresh(connection)
        except Unavailable as error:
            if error.code == SCHEMA_UNFIT:
                self._vault.failure = error.message
            log.debug("data_keys_not_read", code=error.code)
        except Exception as error:  # noqa: BLE001 - one failure must not end the task
            self._vault.failure = "unexpected error, see data_keys_not_read in the log"
            log.warning("data_keys_not_read", error=type(error).__name__)

    def checks(self, scope: ReportScope) -> Mapping[str, HealthCheck]:
        problem = self._vault.problem_among(set(filter(scope.covers, self._vault.active_since)))
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
            "When the active data key of the environment was created.",
            "environment",
            {environment: created_at.timestamp() for environment, created_at in active_since},
        )
        yield gauge(
            "flagstone_keys_missing",
            "Key-encryption keys that data keys need and that are missing.",
            len(self._vault.missing),
        )
