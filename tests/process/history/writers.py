"""Write one request after the other until the traffic ends."""

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from app.configuration.changes.views import AppliedChangeSets
from app.configuration.entries.models import WriteResult
from tests.process.history.cluster import Replica
from tests.process.history.records import AppliedChange, Attempt, Outcome, Read, Write
from tests.process.history.traffic import ANSWER_SECONDS, Answer, Traffic
from tests.process.history.wishes import ENVIRONMENTS, Wish, make_single_write, make_wish

_REPEAT_SECONDS = 15.0
# The share of writes with a lost answer that are never repeated.
_GIVES_UP = 0.25
_IMPATIENT = 0.1
# The share of writes without an Idempotency-Key. They are never repeated, and may be grouped.
_WITHOUT_KEY = 0.5


class Writer:
    """Reads, writes under the read versions, and repeats writes with a key without an answer."""

    def __init__(self, name: str, traffic: Traffic, seed: str) -> None:
        self._name = name
        self._traffic = traffic
        self._chance = random.Random(f"{seed}/{name}")  # noqa: S311 - to be repeated, not guarded
        self._reached: dict[str, int] = {}
        self._count = 0

    async def run(self) -> None:
        while not self._traffic.ended.is_set():
            if await self.write_once() is None:
                await asyncio.sleep(0.1)

    async def write_once(self) -> Write | None:
        """Read, write and record the write. Return None if nothing can be read."""
        known: dict[str, Read] = {}
        for environment in self._environments():
            read = await self._traffic.read(
                self._name, self._anyone(), environment, self._reached.get(environment)
            )
            if read.status == 200:
                known[environment] = read
        if not known:
            return None
        self._count += 1
        name = f"{self._name}.{self._count}"
        write = await self._carry_out(name, self._wish(name, known))
        self._traffic.records.append(write)
        for applied in write.applied:
            self._reached[applied.environment] = applied.revision
        return write

    async def _carry_out(self, name: str, wish: Wish) -> Write:
        attempts: list[Attempt] = []
        outcome = Outcome.UNKNOWN
        applied: tuple[AppliedChange, ...] = ()
        has_key = self._has_key()
        key = {"Idempotency-Key": name} if has_key else {}
        deadline = time.monotonic() + _REPEAT_SECONDS
        while time.monotonic() < deadline:
            answer, attempt = await self._traffic.ask(
                self._anyone(),
                wish.method,
                wish.path,
                headers={**wish.headers, **key},
                body=wish.body,
                seconds=self._patience(),
            )
            attempts.append(attempt)
            if answer.status in {200, 201}:
                outcome, applied = Outcome.OK, tuple(_applied(wish, answer))
                break
            if 400 <= answer.status < 500:
                is_last_word = len(attempts) == 1 or _stays_refused(wish)
                outcome = Outcome.REFUSED if is_last_word else Outcome.UNKNOWN
                break
            if not has_key or self._chance.random() < _GIVES_UP:
                break
            await asyncio.sleep(self._chance.uniform(0.02, 0.3))
        return Write(
            client=self._name,
            name=name,
            method=wish.method,
            path=wish.path,
            environments=wish.environments,
            requested=wish.requested,
            attempts=tuple(attempts),
            outcome=outcome,
            applied=applied,
        )

    def _patience(self) -> float:
        """Return the seconds to wait for an answer, sometimes so few that it is lost."""
        if self._chance.random() < _IMPATIENT:
            return self._chance.uniform(0.002, 0.05)
        return ANSWER_SECONDS

    def _environments(self) -> Sequence[str]:
        return self._chance.sample(ENVIRONMENTS, self._chance.choice((1, 1, 2)))

    def _wish(self, name: str, known: Mapping[str, Read]) -> Wish:
        return make_wish(self._chance, name, known)

    def _has_key(self) -> bool:
        return self._chance.random() >= _WITHOUT_KEY

    def _anyone(self) -> Replica:
        return self._chance.choice(self._traffic.cluster.replicas)


class CrowdWriter(Writer):
    """Writes single entries of one environment to one replica, so that they share transactions."""

    def _environments(self) -> Sequence[str]:
        return ENVIRONMENTS[:1]

    def _wish(self, name: str, known: Mapping[str, Read]) -> Wish:
        return make_single_write(self._chance, name, known)

    def _has_key(self) -> bool:
        return False

    def _anyone(self) -> Replica:
        return self._traffic.cluster.replicas[0]


def _stays_refused(wish: Wish) -> bool:
    """Return whether no earlier attempt in flight can succeed after a refusal.

    Versions only go up, so what was stale stays so; a key that was there may be gone again.
    """
    return bool(wish.requested) and all(entry.version > 0 for entry in wish.requested)


def _applied(wish: Wish, answer: Answer) -> Iterator[AppliedChange]:
    if wish.method in {"PUT", "DELETE"}:
        written = msgspec.json.decode(answer.body, type=WriteResult)
        yield AppliedChange(
            environment=written.environment,
            revision=written.revision,
            key=written.key,
            version=written.version,
        )
        return
    for change_set in msgspec.json.decode(answer.body, type=AppliedChangeSets).change_sets:
        for change in change_set.changes:
            yield AppliedChange(
                environment=change_set.environment,
                revision=change_set.revision,
                key=change.key,
                version=change.after.version if change.after else None,
            )
        if change_set.properties is not None:
            yield AppliedChange(
                environment=change_set.environment,
                revision=change_set.revision,
                key="",
                version=change_set.properties.after.version,
            )
