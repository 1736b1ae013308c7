"""Search over keys and texts."""

import pytest

from app.flags.search import Search, SearchText, words_of

TEXT = SearchText.of("checkout/newPaymentForm", ["on", "off", "payments", "The form of Würzburg"])


@pytest.mark.parametrize(
    "text", ["newCheckout", "new-checkout", "new/checkout", "NewCheckout", "new_checkout"]
)
def test_words_are_equal_in_every_spelling(text: str) -> None:
    assert words_of(text) == ["new", "checkout"]


def test_words_split_an_acronym_from_the_next_word() -> None:
    assert words_of("useHTTPCache2") == ["use", "http", "cache2"]


@pytest.mark.parametrize(
    ("query", "rank"),
    [
        ("checkout", 0),
        ("checkout/new", 0),
        ("CheckoutNewPay", 0),
        ("payment form", 1),
        ("paymentForm", 1),
        ("ymentfo", 1),
        ("form new", 2),
        ("form payments", 3),
        ("WÜRZBURG", 3),
        ("payments off", 3),
        ("checkouts", None),
        ("form blue", None),
    ],
)
def test_search_ranks_the_key_before_other_texts(query: str, rank: int | None) -> None:
    search = Search(query)

    assert search.matches(TEXT) is (rank is not None)
    if rank is not None:
        assert search.rank(TEXT) == rank


def test_search_without_words_is_false() -> None:
    assert not Search(" -/ ")
    assert Search("a")
