"""Advice on prefixes that are allowed, and that often say more than was meant."""

import pytest

from app.access.prefix_advice import prefix_advice


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        ([], []),
        ([""], []),
        (["payments/", "search-", "a.", "b_"], []),
        (["payments/", ""], ["the empty prefix is for all keys, so payments/ limits nothing"]),
        (["payments", "a/"], ["payments is also the beginning of payments-old/x"]),
    ],
)
def test_advice_names_prefixes_that_cover_more(prefixes: list[str], expected: list[str]) -> None:
    advice = prefix_advice(prefixes)

    assert len(advice) == len(expected)
    assert all(text.startswith(start) for text, start in zip(advice, expected, strict=True))
