"""The garbage collector of the process does not visit the data of requests."""

import gc
from collections.abc import Callable, Iterator

import pytest

from app import memory


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    """Restore the collector of the test process."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def collected(work: Callable[[], object]) -> set[int]:
    """Return the generations that were collected during the work."""
    generations = set()

    def record(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            generations.add(info["generation"])

    gc.callbacks.append(record)
    try:
        work()
    finally:
        gc.callbacks.remove(record)
    return generations


def test_many_objects_cause_no_full_collection() -> None:
    memory.start()

    generations = collected(lambda: [[n] for n in range(200_000)])

    assert 2 not in generations
    assert generations == {0, 1}


def test_frozen_data_is_not_collected() -> None:
    data = memory.frozen(lambda: [[n] for n in range(1_000)])

    assert gc.get_freeze_count() >= len(data)
    assert gc.isenabled()


def test_large_request_postpones_full_collection() -> None:
    memory.start()

    with memory.large_data():
        during = collected(memory.collect)
        forced = collected(lambda: memory.collect(force=True))
    after = collected(memory.collect)

    assert during == {1}
    assert forced == after == {2}


def test_many_live_objects_are_frozen_after_a_collection() -> None:
    memory.start()
    data = [[n] for n in range(memory.FEW_OBJECTS + 10_000)]

    assert memory.collect()
    assert gc.get_freeze_count() >= len(data)
    assert len(gc.get_objects(generation=2)) < memory.FEW_OBJECTS
