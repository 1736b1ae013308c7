import pytest

from app.console.palette.ranking import best, candidate, normalized

NAMES = (
    "checkout/new-flow",
    "checkout/newFlowBanner",
    "checkout.retry_limit",
    "HTTPTimeoutSeconds",
    "search/ranker",
    "new-customers",
)


def found(query: str) -> list[str]:
    return [item.name for item in best([candidate("flag", name) for name in NAMES], query, 10)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkout/newFlow-v2", "checkout new flow v2"),
        ("HTTPTimeoutSeconds", "http timeout seconds"),
        ("--", ""),
        ("größe_ÄNDERN", "größe ändern"),
    ],
)
def test_normalized_name_is_its_words(name: str, words: str) -> None:
    assert normalized(name) == words


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("checkout/new-flow", "checkout/new-flow"),
        ("CheckoutNewFlow", "checkout/new-flow"),
        ("flow check", "checkout/new-flow"),
        ("retry", "checkout.retry_limit"),
        ("timeoutSec", "HTTPTimeoutSeconds"),
        ("srnk", "search/ranker"),
        ("newcustomers", "new-customers"),
    ],
)
def test_best_match_is_first(query: str, first: str) -> None:
    assert found(query)[0] == first


def test_best_of_a_prefix_come_before_scattered_letters() -> None:
    assert found("new") == ["new-customers", "checkout/new-flow", "checkout/newFlowBanner"]


@pytest.mark.parametrize("query", ["", " /-", "zzz", "(.*", "x" * 10_000, "n" * 99 + "q"])
def test_best_of_a_query_without_match_is_empty(query: str) -> None:
    assert found(query) == []
