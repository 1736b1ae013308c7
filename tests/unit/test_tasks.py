"""Background tasks: a crash is kept and shown, and what was started last is stopped first."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.database import Database
from app.settings import load
from app.snapshots.follower import Follower
from app.tasks import Tasks, jittered, repeat


async def forever() -> None:
    await asyncio.Event().wait()


async def crash(error: BaseException) -> None:
    raise error


async def nothing() -> None:
    pass


async def ended(tasks: Tasks, name: str) -> None:
    """Wait for the task, and for what is told about it."""
    await asyncio.wait([tasks._tasks[name]], timeout=10)


async def test_a_crash_is_kept_and_shown() -> None:
    tasks, error = Tasks(), RuntimeError("broken")

    with capture_logs() as logged:
        tasks.start("well", forever())
        tasks.start("bad", crash(error))
        await ended(tasks, "bad")

    assert tasks.failures == {"bad": error}
    assert tasks.alive == {"well": True, "bad": False}
    assert [(event["event"], event["task"], event["exc_info"]) for event in logged] == [
        ("task_failed", "bad", error)
    ]
    await tasks.stop()
    assert tasks.alive == {"well": True, "bad": False}


async def test_a_task_that_ended_is_well() -> None:
    tasks = Tasks()

    tasks.start("done", nothing())
    await ended(tasks, "done")

    assert tasks.alive == {"done": True}
    assert tasks.failures == {}
    await tasks.stop()


async def test_a_task_that_was_cancelled_is_well() -> None:
    tasks = Tasks()
    tasks.start("cancelled", forever())

    tasks._tasks["cancelled"].cancel()
    await ended(tasks, "cancelled")

    assert tasks.alive == {"cancelled": True}
    assert tasks.failures == {}


async def test_tasks_stop_one_after_the_other_the_last_one_first() -> None:
    """Whatever was started later may lean on what was started before it."""
    tasks, story, running = Tasks(), list[str](), asyncio.Semaphore(0)

    async def work(name: str) -> None:
        running.release()
        try:
            await forever()
        finally:
            story.append(f"{name} stops")
            await asyncio.sleep(0)
            story.append(f"{name} is gone")

    for name in ("first", "second", "third"):
        tasks.start(name, work(name))
    for _ in range(3):
        await running.acquire()
    await tasks.stop()

    assert story == [
        f"{name} {what}" for name in ("third", "second", "first") for what in ("stops", "is gone")
    ]


async def test_stopping_waits_for_a_task_that_has_not_begun() -> None:
    tasks = Tasks()
    tasks.start("fresh", forever())

    await tasks.stop()

    assert tasks._tasks["fresh"].cancelled()
    assert tasks.alive == {"fresh": True}


async def test_a_crash_while_stopping_is_kept_and_the_others_stop_too() -> None:
    tasks, error, running = Tasks(), OSError("while closing"), asyncio.Event()

    async def closes_badly() -> None:
        try:
            running.set()
            await forever()
        except asyncio.CancelledError:
            raise error from None

    tasks.start("well", forever())
    tasks.start("bad", closes_badly())
    await running.wait()
    await tasks.stop()

    assert tasks.failures == {"bad": error}
    assert tasks._tasks["well"].cancelled()


async def test_stopping_twice_is_fine_and_nothing_starts_afterwards() -> None:
    """A start that is still under way must not add tasks that nobody would stop."""
    tasks = Tasks()
    tasks.start("one", forever())

    await tasks.stop()
    tasks.start("two", forever())
    await tasks.stop()

    assert tasks.alive == {"one": True}


async def test_repeat_works_until_it_is_cancelled_and_asks_each_time_how_long_to_rest() -> None:
    tasks, rounds, rests = Tasks(), list[int](), list[int]()
    enough = asyncio.Event()

    async def once() -> None:
        rounds.append(len(rests))
        if len(rounds) == 5:
            enough.set()

    def every() -> float:
        rests.append(len(rounds))
        return 0.0

    tasks.start("loop", repeat(every, once))
    await asyncio.wait_for(enough.wait(), 10)
    await tasks.stop()

    assert rounds[:5] == [0, 1, 2, 3, 4]
    assert rests[:4] == [1, 2, 3, 4]


async def test_a_crash_ends_the_repetition() -> None:
    tasks, error = Tasks(), RuntimeError("broken")

    tasks.start("loop", repeat(lambda: 0.0, lambda: crash(error)))
    await ended(tasks, "loop")

    assert tasks.failures == {"loop": error}


def test_a_rest_is_a_fifth_more_or_less() -> None:
    rests = [jittered(10.0) for _ in range(500)]

    assert all(8 <= rest <= 12 for rest in rests)
    assert max(rests) - min(rests) > 2
    assert jittered(0.0) == 0


@pytest.mark.parametrize("turns", range(5))
async def test_a_loop_that_is_called_and_cancelled_in_one_moment_ends(turns: int) -> None:
    """Python 3.11's `wait_for` forgets a cancellation that comes together with what it waits for:
    a stop would wait for ever for a loop that goes on.
    """
    follower, tasks = Follower(Database(load({}).database)), Tasks()
    tasks.start("follower", follower.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    follower.hint()
    for _ in range(turns):
        await asyncio.sleep(0)

    await asyncio.wait_for(tasks.stop(), 1)
