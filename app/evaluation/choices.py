"""Rules that choose one of several known answers by conditions and splits.

Most rules do. A bulk evaluation reads the parts of their choice: it evaluates a condition once for
all flags that have it, and draws their splits in one pass.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum, auto
from typing import Any, NamedTuple

from app.evaluation.bucketing import GENERATIONS, TEXT_HEADS, digest, plain
from app.evaluation.nodes import Node
from app.evaluation.parts import Part
from app.evaluation.run import TEXT_FREE

# In bytes. A split with a longer head, or by a longer attribute, is evaluated alone.
HEAD_MAX = TEXT_FREE
_ATTRIBUTE_MAX = len(TEXT_HEADS) - HEAD_MAX - 1
# At least the steps that any one split spends.
SPLIT_STEPS_MAX = 2 * ((HEAD_MAX + _ATTRIBUTE_MAX) // TEXT_FREE)


class Tail(NamedTuple):
    """The bytes of an attribute, and at least the steps that a split spends to hash them."""

    hashed: bytes
    steps: int


class Form(StrEnum):
    """The value that a split hashes: the pair of flag key and targeting key, which is the default,
    an attribute, or the concatenation of a string and an attribute.
    """

    PAIR = auto()
    ATTRIBUTE = auto()
    TEXT = auto()


class Seeding(NamedTuple):
    """How splits hash an attribute of the context. Splits with equal ones are drawn together."""

    form: Form
    attribute: str
    fractional: str

    def tail(self, context: Mapping[str, Any]) -> Tail | None:
        """Return the bytes of the attribute; None if it is no string, or too long."""
        value = context.get(self.attribute)
        if type(value) is not str or (self.form is Form.PAIR and not value):
            return None
        is_text = self.form is Form.TEXT
        hashed = plain(value) if is_text else GENERATIONS[self.fractional].tail(value)
        # The operator `cat` and the hash both read the head and the attribute.
        steps = 2 * ((HEAD_MAX + len(value)) // TEXT_FREE) if is_text else len(value) // TEXT_FREE
        return Tail(hashed, steps) if len(hashed) <= _ATTRIBUTE_MAX else None

    def draw(self, tail: Tail, splits: "Splits") -> list[bytes]:
        """Return the answer of each split."""
        hashed = tail.hashed
        if splits.are_pairs:
            return [
                first if digest(head + hashed) < limit else second
                for head, limit, first, second in splits.rows
            ]
        if self.form is Form.TEXT and self.fractional != "v2":
            size = len(hashed)
            return [
                answers[bisect_right(limits, digest(TEXT_HEADS[len(head) + size] + head + hashed))]
                for head, limits, answers in splits.rows
            ]
        return [
            answers[bisect_right(limits, digest(head + hashed))]
            for head, limits, answers in splits.rows
        ]


class Splits:
    """Several splits that are drawn together, as rows, and the position of each.

    A row has a head, the limits of the hash, and the answers. With `are_pairs`, each split has two
    answers, and a row has a head, the limit of the first answer, and both.
    """

    __slots__ = ("are_pairs", "positions", "rows")

    def __init__(
        self, *, are_pairs: bool, draws: Sequence["Draw"] = (), positions: Sequence[int] = ()
    ) -> None:
        self.are_pairs = are_pairs
        self.rows: list[Any] = [_row(draw, is_pair=are_pairs) for draw in draws]
        self.positions = [*positions]

    def add(self, splits: "Splits") -> None:
        self.rows += splits.rows
        self.positions += splits.positions


class Draw(NamedTuple):
    """A split as the answer of a rule. The head is hashed before the attribute."""

    seeding: Seeding
    head: bytes
    limits: Sequence[int]
    answers: Sequence[bytes]

    @property
    def is_pair(self) -> bool:
        """Whether one limit decides between two answers, and the hash needs no other bytes."""
        form, _, fractional = self.seeding
        return len(self.answers) == 2 and (form is not Form.TEXT or fractional == "v2")


def _row(draw: Draw, *, is_pair: bool) -> tuple[Any, ...]:
    head, answers = _copy(draw.head), map(_copy, draw.answers)
    return (head, draw.limits[0], *answers) if is_pair else (head, draw.limits, (*answers,))


def _copy(text: bytes) -> bytes:
    """Return a copy. Neighbours in memory are read faster: at 10,000 flags in half of the time."""
    return bytes(bytearray(text))


class Choice(NamedTuple):
    """The answers in the order of the conditions; the last is for a context that meets none."""

    conditions: tuple[Part, ...]
    answers: tuple[bytes | Draw, ...]


def choice_of_if(pairs: Iterable[tuple[Node, Node]], otherwise: Node) -> Choice | None:
    """Return the choice of a rule by its conditions and results; None for a rule of other parts."""
    return _choice_of_branches(
        ((condition, _choice_of(consequence)) for condition, consequence in pairs),
        _choice_of(otherwise),
    )


def choice_of_if_at(pairs: Iterable[tuple[Node, Node]], otherwise: Node, now: int) -> Choice | None:
    """Return the choice of such a rule at an instant, at which its parts are known answers."""
    return _choice_of_branches(
        ((condition, choice_at(consequence, now)) for condition, consequence in pairs),
        choice_at(otherwise, now),
    )


def _choice_of_branches(
    branches: Iterable[tuple[Node, Choice | None]], rest: Choice | None
) -> Choice | None:
    conditions: list[Part] = []
    answers: list[bytes | Draw] = []
    for condition, inner in branches:
        if condition.part is None or inner is None or inner.conditions:
            return None
        conditions.append(condition.part)
        answers += inner.answers
    if rest is None:
        return None
    return Choice((*conditions, *rest.conditions), (*answers, *rest.answers))


def choice_at(node: Node, now: int) -> Choice | None:
    """Return the choice of a node at an instant (Unix seconds)."""
    return _choice_of(node) if node.choice_at is None else node.choice_at(now)


def _choice_of(node: Node) -> Choice | None:
    return Choice((), (node.literal,)) if node.is_literal else node.choice
