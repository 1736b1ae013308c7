"""One evaluation and its budget of steps.

Work that grows with the rule or the context spends steps before it is done: looping over elements,
reading strings, converting lists to strings. So neither can block the event loop.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.evaluation.engine import Flag

# A step takes about 0.2 µs, so a run takes at most a few milliseconds.
STEPS_MAX = 20_000
# A string up to this length can be read for free. Each further block of this length costs one step.
TEXT_FREE = 64


class RuleError(Exception):
    """A rule cannot be compiled or evaluated. Clients may see the text.

    `within` are the segments around the place of the error, which the text names.
    """

    within: tuple[str, ...] = ()


class FlagCircleError(RuleError):
    """A flag needs itself, directly or through others, or needs such a flag."""


class Run:
    """One evaluation: its context, its time (Unix seconds) and its remaining steps.

    `hashed_key` caches the bytes to hash of the targeting key; empty when there is no key.
    `variants` caches the variants of flags that others need, with the steps of their evaluation.
    """

    __slots__ = ("context", "hashed_key", "now", "steps", "variants")

    def __init__(self, context: Mapping[str, Any], now: int, steps: int = STEPS_MAX) -> None:
        self.context = context
        self.now = now
        self.steps = steps
        self.hashed_key: bytes | None = None
        self.variants: dict[Flag, tuple[str | None, int]] | None = None

    def spend(self, steps: int) -> None:
        """Spend steps. Raises RuleError when the budget is used up."""
        self.steps -= steps
        if self.steps < 0:
            raise RuleError("the rule takes too many steps with this context")

    def spend_on_text(self, text: str) -> None:
        """Spend the steps to read, copy or compare a string."""
        if len(text) > TEXT_FREE:
            self.spend(len(text) // TEXT_FREE)
