"""A shared mapping equals a dict in the order of keys, and earlier copies never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.shared_mapping import SharedMapping

# More than 64 keys, so that the number of sections grows and shrinks.
KEYS = st.integers(0, 199).map("k{}".format)
CHANGES = st.lists(
    st.tuples(
        st.one_of(
            st.dictionaries(KEYS, st.integers(), max_size=30),
            st.integers(0, 199).map(lambda size: {f"k{n}": n for n in range(size)}),
        ),
        st.lists(KEYS, max_size=150),
    ),
    max_size=5,
)


@given(changes=CHANGES)
def test_changed_mapping_equals_a_changed_dict(
    changes: list[tuple[dict[str, int], list[str]]],
) -> None:
    mapping: SharedMapping[int] = SharedMapping()
    expected: dict[str, int] = {}
    earlier: list[tuple[SharedMapping[int], dict[str, int]]] = []
    for put, removed in changes:
        earlier.append((mapping, expected))
        mapping = mapping.changed(put, removed)
        expected = {k: v for k, v in expected.items() if k not in removed} | put

    for copy, values in [*earlier, (mapping, expected)]:
        assert list(copy.items()) == sorted(values.items())
        assert list(copy.sorted_keys) == sorted(values)
        assert len(copy) == len(values)
        assert all(copy.get(f"k{n}") == values.get(f"k{n}") for n in range(200))
        assert all((f"k{n}" in copy) == (f"k{n}" in values) for n in range(200))


def test_missing_key_raises_or_gives_the_default() -> None:
    mapping = SharedMapping[int]().changed({"a": 1})

    assert (mapping["a"], mapping.get("b"), mapping.get("b", 2)) == (1, None, 2)
    with pytest.raises(KeyError):
        mapping["b"]


def test_mapping_without_a_change_of_keys_shares_their_order() -> None:
    before = SharedMapping[int]().changed({f"k{n}": n for n in range(500)})

    after = before.changed({"k7": 8}, ["missing"])

    assert after.sorted_keys is before.sorted_keys
    assert (before["k7"], after["k7"]) == (7, 8)
