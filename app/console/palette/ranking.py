"""Fuzzy search over keys: tolerant of camelCase, kebab-case, slashes and omitted letters.

Each key is compared in two forms: its words, and all its letters without separators.
"""

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\W_]+")
QUERY_MAX = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name that can be found, with its words and letters in lower case."""

    kind: str
    name: str
    words: str
    letters: str


@lru_cache(maxsize=20_000)
def candidate(kind: str, name: str, synonyms: str = "") -> Candidate:
    """Return a name that its own words find, and those of `synonyms`, in lower case."""
    words = normalized(name)
    return Candidate(
        kind=kind, name=name, words=f" {words} {synonyms}", letters=words.replace(" ", "")
    )


def normalized(text: str) -> str:
    """Return the words of a text in lower case, with one space between them."""
    return _SEPARATORS.sub(" ", _HUMP.sub(" ", text)).strip().lower()


def best(candidates: Iterable[Candidate], query: str, count: int) -> Sequence[Candidate]:
    """Return the best matches, best first. Shorter names come first among equal ones."""
    words = normalized(query[:QUERY_MAX]).split()
    if not words:
        return []
    found = heapq.nsmallest(count, _ranked(candidates, words))
    return [item for _, _, _, _, item in found]


def _ranked(
    candidates: Iterable[Candidate], words: Sequence[str]
) -> Iterator[tuple[int, int, str, int, Candidate]]:
    letters = "".join(words)
    starts = [f" {word}" for word in words]
    # For example [^c]*c[^k]*k finds "checkout". With .* a long query could take seconds.
    scattered = re.compile("".join(f"[^{letter}]*{letter}" for letter in letters))
    for position, item in enumerate(candidates):
        if item.letters == letters:
            rank = 0
        elif item.letters.startswith(letters):
            rank = 1
        elif all(start in item.words for start in starts):
            rank = 2
        elif letters in item.letters:
            rank = 3
        elif scattered.match(item.letters) is not None:
            rank = 4
        else:
            continue
        yield rank, len(item.name), item.name, position, item
