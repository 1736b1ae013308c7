"""The collector of cyclic garbage does not walk through what a request holds."""

import gc
from collections.abc import Callable, Iterator

import pytest

from app import memory as collector


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    """Give the process back as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def collected(work: Callable[[], object]) -> set[int]:
    """Return the generations that were collected while the work was done."""
    found = set()

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            found.add(info["generation"])

    gc.callbacks.append(note)
    try:
        work()
    finally:
        gc.callbacks.remove(note)
    return found


def test_many_objects_cause_no_full_collection() -> None:
    collector.start()

    generations = collected(lambda: [[n] for n in range(200_000)])

    assert 2 not in generations
    assert generations == {0, 1}


def test_frozen_data_is_not_walked_through() -> None:
    data = collector.frozen(lambda: [[n] for n in range(1_000)])

    assert gc.get_freeze_count() >= len(data)
    assert gc.isenabled()


def test_large_request_postpones_full_collection() -> None:
    collector.start()

    with collector.large_data():
        meanwhile = collected(collector.collect)
        in_any_case = collected(lambda: collector.collect(in_any_case=True))
    afterwards = collected(collector.collect)

    assert meanwhile == {1}
    assert in_any_case == afterwards == {2}


def test_many_live_objects_are_frozen_after_a_collection() -> None:
    collector.start()
    data = [[n] for n in range(collector.FEW_OBJECTS + 10_000)]

    assert collector.collect()
    assert gc.get_freeze_count() >= len(data)
    assert len(gc.get_objects(generation=2)) < collector.FEW_OBJECTS
