"""Stored values are decoded one at a time."""

import pytest

from app.configuration.changes.offload import AbandonedError, StoredValues


def test_stored_values_are_decoded_when_read() -> None:
    values = StoredValues({"a": '{"n": 1e300}', "b": "[1]"}, {"own": 2})

    assert dict(values) == {"own": 2, "a": {"n": 1e300}, "b": [1]}
    assert (len(values), "a" in values, "c" in values) == (3, True, False)
    assert values["a"] is not values["a"]


def test_closed_stored_values_end_the_work() -> None:
    values = StoredValues({"a": "1", "b": "2"})
    reading = iter(values.values())
    next(reading)

    values.close()

    with pytest.raises(AbandonedError):
        next(reading)


@pytest.mark.parametrize("text", ["1", f'"{"x" * 100_000}"'], ids=["small", "large"])
async def test_stored_values_run_returns_the_result(text: str) -> None:
    values = StoredValues({"a": text})

    assert await values.run("test", lambda: len(str(values["a"]))) > 0
