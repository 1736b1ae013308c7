"""Keys that break after their separators."""

import pytest

from app.console.templating import pieces


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("admin_audit/a.b-c", ["admin_", "audit/", "a.", "b-", "c"]),
        ("a__b/", ["a__", "b/"]),
        ("/a", ["/", "a"]),
        ("", []),
    ],
)
def test_key_is_cut_after_its_separators(key: str, expected: list[str]) -> None:
    assert pieces(key) == expected
