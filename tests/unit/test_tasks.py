"""Background tasks: restarted after a failure, and stopped within a limit."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from app.configuration.snapshots.follower import Follower
from app.database import Database
from app.database.polling import PolledCopy
from app.errors import Unavailable
from app.settings import load
from app.tasks import Tasks, jittered, preserve_cancellation, repeat
from tests.waiting import HANG_SECONDS


async def wait_forever() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    pass


def running_task(name: str) -> "asyncio.Task[object]":
    return next(task for task in asyncio.all_tasks() if task.get_name() == name)


class Work:
    """Work that raises these errors, one per run, and then runs without end."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.runs = 0
        self.going = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        self.going.set()
        await wait_forever()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tasks.PAUSE_SECONDS", 0.0)


@pytest.mark.usefixtures("no_pauses")
async def test_task_is_restarted_after_each_failure() -> None:
    """A CancelledError that the task did not ask for is a failure."""
    tasks, work = Tasks(), Work(RuntimeError("broken"), OSError("disk"), asyncio.CancelledError())

    with capture_logs() as logged:
        tasks.start("well", wait_forever)
        tasks.start("bad", work.run)
        await asyncio.wait_for(work.going.wait(), HANG_SECONDS)

    assert work.runs == 4
    assert tasks.failures == {"bad": 3}
    assert tasks.alive == {"well": True, "bad": False}
    # A service of other tests may log on the same loop.
    failures = [event for event in logged if event.get("task") == "bad"]
    assert [(event["event"], event["exc_info"]) for event in failures] == [
        ("task_failed", True)
    ] * 3
    await tasks.stop()


async def test_pause_after_failures_doubles_up_to_60_s(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, work = Tasks(), Work(*[RuntimeError() for _ in range(1_100)])

    monkeypatch.setattr("app.tasks.jittered", lambda *_: 0.0)
    with capture_logs() as logged:
        tasks.start("bad", work.run)
        await asyncio.wait_for(work.going.wait(), HANG_SECONDS)
    await tasks.stop()

    # Tasks of the service that tests share may log too.
    pauses = [event["restart_seconds"] for event in logged if event.get("task") == "bad"]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == 60


@pytest.mark.usefixtures("no_pauses")
async def test_task_that_runs_long_enough_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tasks.RECOVERY_SECONDS", 0.05)
    tasks, work = Tasks(), Work(RuntimeError())

    with capture_logs():
        tasks.start("bad", work.run)
        await asyncio.wait_for(work.going.wait(), HANG_SECONDS)
        async with asyncio.timeout(HANG_SECONDS):
            while not tasks.alive["bad"]:  # noqa: ASYNC110 - a timer has no event
                await asyncio.sleep(0.01)

    assert not tasks.failures
    await tasks.stop()


async def test_task_that_returns_is_alive() -> None:
    tasks = Tasks()

    tasks.start("done", nothing)
    await asyncio.wait([running_task("done")], timeout=HANG_SECONDS)

    assert tasks.alive == {"done": True}
    assert await tasks.stop() == []


async def test_task_that_is_cancelled_is_alive() -> None:
    tasks, work = Tasks(), Work()
    tasks.start("cancelled", work.run)
    await work.going.wait()

    task = running_task("cancelled")
    task.cancel()
    await asyncio.wait([task], timeout=HANG_SECONDS)

    assert tasks.alive == {"cancelled": True}
    assert work.runs == 1


async def test_stop_cancels_a_task_that_has_not_begun() -> None:
    tasks = Tasks()
    tasks.start("fresh", wait_forever)
    task = running_task("fresh")

    assert await tasks.stop() == []

    assert task.cancelled()
    assert tasks.alive == {"fresh": True}


async def test_stop_ends_a_task_whose_cleanup_fails() -> None:
    """It is not restarted, and does not delay other tasks."""
    tasks, running, runs = Tasks(), asyncio.Event(), list[int]()

    async def closes_badly() -> None:
        runs.append(1)
        try:
            running.set()
            await wait_forever()
        except asyncio.CancelledError:
            raise OSError("while closing") from None

    tasks.start("well", wait_forever)
    tasks.start("bad", closes_badly)
    await running.wait()
    well = running_task("well")
    with capture_logs() as logged:
        assert await tasks.stop() == []

    failures = [event for event in logged if "task" in event]
    assert [event["event"] for event in failures] == ["task_failed_while_stopping"]
    assert len(runs) == 1
    assert well.cancelled()


async def test_stop_cancels_again_a_task_that_ignores_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.tasks.CANCEL_SECONDS", 0.01)
    tasks, running, swallowed = Tasks(), asyncio.Event(), list[int]()

    async def swallow() -> None:
        while len(swallowed) < 3:
            running.set()
            try:
                await wait_forever()
            except asyncio.CancelledError:
                swallowed.append(1)
        await wait_forever()

    tasks.start("stubborn", swallow)
    await running.wait()

    assert await asyncio.wait_for(tasks.stop(), HANG_SECONDS) == []
    assert len(swallowed) == 3


async def test_stop_after_its_limit_names_running_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tasks.CANCEL_SECONDS", 0.01)
    monkeypatch.setattr("app.tasks.STOP_SECONDS", 0.05)
    tasks, running, released = Tasks(), asyncio.Event(), asyncio.Event()

    async def never() -> None:
        while not released.is_set():
            running.set()
            with suppress(asyncio.CancelledError):
                await released.wait()

    tasks.start("endless", never)
    tasks.start("well", wait_forever)
    await running.wait()
    with capture_logs() as logged:
        names = await tasks.stop()
    released.set()
    await asyncio.wait([running_task("endless")], timeout=HANG_SECONDS)

    assert names == ["endless"]
    overrun = [event for event in logged if "tasks" in event]
    assert overrun == [{"event": "tasks_not_stopped", "log_level": "error", "tasks": ["endless"]}]


async def test_start_after_stop_does_nothing() -> None:
    """A start that is still running must not add tasks that would never be stopped."""
    tasks = Tasks()
    tasks.start("one", wait_forever)

    await tasks.stop()
    tasks.start("two", wait_forever)
    await tasks.stop()

    assert tasks.alive == {"one": True}


async def test_cancellation_replaces_an_error_of_the_cleanup() -> None:
    running = asyncio.Event()

    async def work() -> None:
        with preserve_cancellation():
            try:
                running.set()
                await wait_forever()
            finally:
                raise OSError("the connection is dead")

    task = asyncio.create_task(work())
    await running.wait()
    task.cancel()
    await asyncio.wait([task], timeout=HANG_SECONDS)

    assert task.cancelled()


async def test_error_handled_in_the_cleanup_is_not_replaced() -> None:
    """Cleanup may handle its own errors."""
    running, caught = asyncio.Event(), list[str]()

    async def work() -> None:
        try:
            running.set()
            await wait_forever()
        finally:
            with pytest.raises(OSError, match="dead"), preserve_cancellation():
                raise OSError("the connection is dead")
            caught.append("OSError")

    task = asyncio.create_task(work())
    await running.wait()
    task.cancel()
    await asyncio.wait([task], timeout=HANG_SECONDS)

    assert caught == ["OSError"]
    assert task.cancelled()


async def test_repeat_asks_for_the_pause_after_each_run() -> None:
    tasks, runs, pauses = Tasks(), list[int](), list[int]()
    enough = asyncio.Event()

    async def once() -> None:
        runs.append(len(pauses))
        if len(runs) == 5:
            enough.set()

    def every() -> float:
        pauses.append(len(runs))
        return 0.0

    tasks.start("loop", lambda: repeat(every, once))
    await asyncio.wait_for(enough.wait(), HANG_SECONDS)
    await tasks.stop()

    assert runs[:5] == [0, 1, 2, 3, 4]
    assert pauses[:4] == [1, 2, 3, 4]


def test_jitter_is_at_most_a_fifth() -> None:
    pauses = [jittered(10.0) for _ in range(500)]

    assert all(8 <= pause <= 12 for pause in pauses)
    assert max(pauses) - min(pauses) > 2
    assert jittered(0.0) == 0


@pytest.mark.parametrize("turns", range(5))
async def test_polling_cancelled_together_with_a_hint_ends(turns: int) -> None:
    """`wait_for` of Python 3.11 loses a cancellation that comes together with the event."""
    follower, tasks = Follower(Database(load({}).database)), Tasks()
    tasks.start("follower", follower.run)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    follower.hint()
    for _ in range(turns):
        await asyncio.sleep(0)

    await asyncio.wait_for(tasks.stop(), HANG_SECONDS)


class Away(PolledCopy):
    """A copy of a database that is away. Each attempt brings a hint."""

    name = "away"
    poll_seconds = HANG_SECONDS
    failure_event = "away_not_refreshed"
    attempts = 0

    async def refresh(self) -> None:
        self.attempts += 1
        self.hint()
        raise Unavailable("database_unavailable", "The database is away.")


async def test_polling_pauses_after_a_failure_despite_hints() -> None:
    away, tasks = Away(), Tasks()
    away.hint()
    tasks.start("away", away.run)

    for _ in range(1_000):
        await asyncio.sleep(0)

    await tasks.stop()
    # Without a pause, an attempt needs a few turns of the loop.
    assert 1 <= away.attempts < 50


async def test_repeat_at_end_runs_once_more_only_when_cancelled() -> None:
    runs: list[str] = []

    async def fail() -> None:
        runs.append("fail")
        raise ValueError

    async def work() -> None:
        runs.append("work")

    with pytest.raises(ValueError):  # noqa: PT011 - the error of `fail`
        await repeat(lambda: 0.0, fail, at_end=True)
    task = asyncio.create_task(repeat(lambda: 3600.0, work, at_end=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert runs == ["fail", "work", "work"]
