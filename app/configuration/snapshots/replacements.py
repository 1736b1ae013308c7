"""Histories that another one of a new epoch has replaced, for health and metrics.

A restore of a backup does that, and a failover to a standby that lacks the last commits.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.environments.models import Environment
from app.log import logger

log = logger(__name__)

# A longer warning would hide others. The counter remains.
REPORTED_SECONDS = 3_600.0


@dataclass(frozen=True, kw_only=True)
class _Replacement:
    before: int
    after: int
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.monotonic)

    @property
    def is_recent(self) -> bool:
        return time.monotonic() - self.clock < REPORTED_SECONDS

    @property
    def output(self) -> str:
        return (
            f"the history was replaced at {self.at:%Y-%m-%dT%H:%M:%SZ}: revision {self.after} of a "
            f"new epoch follows revision {self.before}, and changes may be lost; a restore or a "
            "failover without synchronous replication does this"
        )


class Replacements:
    """The last replacement of each environment, and how many there were."""

    def __init__(self) -> None:
        self._last: dict[str, _Replacement] = {}
        self.counts: Counter[str] = Counter()

    def record(self, before: Environment, after: Environment) -> None:
        """Record the replacement of a state by one of a new epoch.

        If the new epoch begins after all that was read, the environment was deleted and created
        again since, and nothing is lost.
        """
        if after.first_revision > before.revision:
            return
        name = after.name
        log.warning(
            "history_replaced", environment=name, before=before.revision, after=after.revision
        )
        self._last[name] = _Replacement(before=before.revision, after=after.revision)
        self.counts[name] += 1

    def outputs(self) -> Mapping[str, str]:
        """Return the texts for the health report by environment, for one hour."""
        return {name: last.output for name, last in self._last.items() if last.is_recent}
