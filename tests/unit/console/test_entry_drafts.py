from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.views import EntryView
from app.console.entry_drafts import merged, merged_json
from app.console.json_text import diff

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "y"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)


def _entry(value: Any, version: int = 1, description: str | None = None) -> EntryView:
    return EntryView(
        kind="setting", value=value, schema=None, description=description, version=version
    )


@given(_JSON, _JSON)
def test_merge_without_my_change_is_theirs(base: Any, theirs: Any) -> None:
    assert are_equal(merged_json(base, base, theirs), theirs)


@given(_JSON, _JSON)
def test_merge_without_their_change_is_mine(base: Any, mine: Any) -> None:
    assert are_equal(merged_json(base, mine, base), mine)


@given(_JSON, _JSON)
def test_merge_of_the_same_change_is_that_change(base: Any, both: Any) -> None:
    assert are_equal(merged_json(base, both, both), both)


def test_merge_joins_changes_of_different_members() -> None:
    base = {"a": 1, "b": {"c": 1, "d": 1}, "e": 1}
    mine = {"a": 2, "b": {"c": 1, "d": 2}, "e": 1}
    theirs = {"a": 1, "b": {"c": 2, "d": 1}, "f": 1}

    assert merged_json(base, mine, theirs) == {"a": 2, "b": {"c": 2, "d": 2}, "f": 1}


def test_merge_prefers_mine_where_both_changed() -> None:
    assert merged_json({"a": 1}, {"a": 2}, {"a": 3}) == {"a": 2}
    assert merged_json({"a": 1}, {}, {"a": 3}) == {}
    assert merged_json({"a": 1}, {"a": 2}, {}) == {"a": 2}


def test_merged_entry_has_the_current_version() -> None:
    mine = _entry({"a": 2}, 2)
    theirs = _entry({"a": 1, "b": 1}, 7, "theirs")

    entry = merged(_entry({"a": 1}), mine, theirs)

    assert (entry.value, entry.description, entry.version) == ({"a": 2, "b": 1}, "theirs", 7)


@given(_JSON, _JSON)
def test_diff_holds_both_values(before: Any, after: Any) -> None:
    lines = diff(before, after)

    assert lines is not None
    signs = {line.sign for line in lines}
    assert bool(signs & {"+", "-"}) != are_equal(before, after)


def test_diff_of_many_lines_is_left_out() -> None:
    assert diff(list(range(2_000)), 1) is None
