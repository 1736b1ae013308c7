"""A sentence about a change, as parts. Names are marked, so each output chooses their emphasis.

A page renders a name in bold, a terminal prints it plain. A sentence has neither HTML nor Markdown.
A verb has a form for each tense. The sentence is written once, and put into its tense at the end.
"""

from collections.abc import Iterable
from enum import Enum, auto
from itertools import islice

import msgspec

SENTENCES_MAX = 20
CHARACTERS_MAX = 200
# So that two names fit into one sentence.
NAME_MAX = 70


class Tense(Enum):
    """PAST for a change in the history, PLANNED for one that is not made yet."""

    PAST = auto()
    PLANNED = auto()


class SentencePart(msgspec.Struct, frozen=True):
    """A part of a sentence. `is_name` marks a key, a variant or a condition.

    `text` is in the past tense. `planned` replaces it in the other one, and is not longer.
    """

    text: str
    is_name: bool = False
    planned: str | None = None


Sentence = tuple[SentencePart, ...]
# A plain text stands for a part that is no name.
Part = str | SentencePart


def verb(past: str, planned: str) -> SentencePart:
    return SentencePart(past, planned=planned)


WAS = verb("was", "is")
WERE = verb("were", "are")
CHANGED = verb("changed", "changes")
MOVED = verb("moved", "moves")
SWITCHED = verb("Switched", "Switches")
# In "Rule 1 now serves": without a change there is no "now".
NOW = verb("now ", "")


def name(text: str) -> SentencePart:
    return SentencePart(shortened(text, NAME_MAX), is_name=True)


def names(texts: Iterable[str]) -> list[Part]:
    """Return names with commas between."""
    parts: list[Part] = []
    for text in texts:
        parts += [", ", name(text)] if parts else [name(text)]
    return parts


def sentence(*parts: Part) -> Sentence:
    """Return a sentence of at most 200 characters."""
    room = CHARACTERS_MAX
    fitting: list[SentencePart] = []
    for part in parts:
        whole = SentencePart(part) if isinstance(part, str) else part
        if len(whole.text) >= room:
            fitting.append(SentencePart(shortened(whole.text, room), whole.is_name, whole.planned))
            break
        room -= len(whole.text)
        fitting.append(whole)
    return tuple(part for part in fitting if part.text)


def with_prefix(prefix: str, described: Sentence) -> Sentence:
    return sentence(name(prefix), ": ", *described)


def bounded(
    sentences: Iterable[Sentence], *, limit: int = SENTENCES_MAX, hidden: int = 0
) -> list[Sentence]:
    """Return the first sentences, and one with the number of the others and the hidden ones."""
    remaining = iter(sentences)
    first = list(islice(remaining, limit))
    count = sum(1 for _ in remaining) + hidden
    if count:
        first.append(sentence(f"and {count:,} more {'change' if count == 1 else 'changes'}"))
    return first


def in_tense(sentences: Iterable[Sentence], tense: Tense) -> list[Sentence]:
    """Return the sentences in a tense, without the verbs of the other one."""
    return [tuple(_part_in(tense, part) for part in parts) for parts in sentences]


def _part_in(tense: Tense, part: SentencePart) -> SentencePart:
    if part.planned is None:
        return part
    return SentencePart(part.text if tense is Tense.PAST else part.planned)


def plain_text(described: Sentence) -> str:
    return "".join(part.text for part in described)


def shortened(text: str, limit: int) -> str:
    """Cut a text, and end it with an ellipsis. The limit is at least 1."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
