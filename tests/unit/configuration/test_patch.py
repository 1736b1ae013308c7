"""A patch leads from one value to another, and is empty for equal JSON."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.configuration.changes.json_patch import are_equal, patch_between

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-5, 5)
    | st.text("a~/0-", max_size=3),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text("a~/0-", max_size=3), children, max_size=4)
    ),
    max_leaves=12,
)


def applied(document: Any, patch: list[dict[str, Any]]) -> Any:
    """Apply the operations add, remove and replace of RFC 6902."""
    root = {"": copy.deepcopy(document)}
    for operation in patch:
        tokens = ["", *operation["path"].split("/")[1:]]
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in tokens]
        place: Any = root
        for token in tokens[:-1]:
            place = place[int(token)] if isinstance(place, list) else place[token]
        last = tokens[-1]
        if isinstance(place, list) and operation["op"] == "add":
            assert last == "-"
            place.append(operation["value"])
        else:
            key: Any = int(last) if isinstance(place, list) else last
            if operation["op"] == "remove":
                del place[key]
            else:
                assert (key in place) is (operation["op"] == "replace") or isinstance(place, list)
                place[key] = operation["value"]
    return root[""]


@given(before=JSON, after=JSON)
def test_patch_turns_one_value_into_the_other(before: Any, after: Any) -> None:
    patch = patch_between(before, after)

    assert are_equal(applied(before, patch), after)
    assert (patch == []) is are_equal(before, after)


@given(value=JSON)
def test_value_does_not_differ_from_itself(value: Any) -> None:
    assert patch_between(value, copy.deepcopy(value)) == []


@pytest.mark.parametrize(
    ("before", "after"), [(True, 1), (0, False), (1, 1.0), (None, 0), ([], {}), ("", None)]
)
def test_values_equal_in_python_may_differ_in_json(before: Any, after: Any) -> None:
    assert patch_between(before, after) == [{"op": "replace", "path": "", "value": after}]


def test_small_change_in_large_value_is_a_small_patch() -> None:
    before = {"targeting": {"if": [{"==": [1, 2]}, "on", "off"]}, "a/b~c": 1}
    after = {"targeting": {"if": [{"==": [1, 3]}, "on", "off", "x"]}}

    assert patch_between(before, after) == [
        {"op": "replace", "path": "/targeting/if/0/==/1", "value": 3},
        {"op": "add", "path": "/targeting/if/-", "value": "x"},
        {"op": "remove", "path": "/a~1b~0c"},
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([0] * 5_000, [1] * 5_000),
        ({"n" * 100_000: [0] * 10}, {"n" * 100_000: [1] * 10}),
        ([[0]] * 5_000, []),
    ],
    ids=["many operations", "long paths", "many removals"],
)
def test_large_patch_replaces_the_value(before: Any, after: Any) -> None:
    """Each operation repeats its path: 10,000 under one long name would take gigabytes."""
    assert patch_between(before, after) == [{"op": "replace", "path": "", "value": after}]
