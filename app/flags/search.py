"""Search in keys and texts, tolerant of camelCase, kebab-case and slashes, and of half a word."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

# The query comes from a URL: these bound the cost of one search over thousands of texts.
QUERY_CHARACTERS_MAX = 200
_QUERY_WORDS_MAX = 12
# A description can have 2,000 characters and an object hundreds of variants.
_WORDS_MAX = 400

_CAMEL_CASE = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the words in lower case: those of `newCheckout` and `new-checkout` are equal."""
    return _WORD.findall(_CAMEL_CASE.sub(" ", text).casefold())


@dataclass(frozen=True, slots=True)
class SearchText:
    """The searchable text: the key without separators, its words, and words of other texts."""

    key: str
    text: str

    @classmethod
    def of(cls, key: str, texts: Iterable[str]) -> "SearchText":
        words = words_of(key)
        rest = (word for text in texts for word in words_of(text))
        joined = "".join(words)
        return cls(joined, " ".join([joined, *words, *islice(rest, _WORDS_MAX)]))


class Search:
    """A query. Each of its words must occur, in any order and also as a part of a word."""

    def __init__(self, query: str) -> None:
        self._words = words_of(query[:QUERY_CHARACTERS_MAX])[:_QUERY_WORDS_MAX]
        self._whole = "".join(self._words)

    def __bool__(self) -> bool:
        return bool(self._words)

    def matches(self, text: SearchText) -> bool:
        for word in self._words:  # noqa: SIM110 - without a generator it takes half the time
            if word not in text.text:
                return False
        return True

    def rank(self, text: SearchText) -> int:
        """Return how well a text matches. 0 is best: its key begins with the query."""
        if text.key.startswith(self._whole):
            return 0
        if self._whole in text.key:
            return 1
        return 2 if all(word in text.key for word in self._words) else 3
