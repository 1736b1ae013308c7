"""One evaluation, and what it may cost: steps, paid for where the work is done.

Neither a rule nor a context can hold its caller for long, as whatever grows with either is paid for
before it is done: elements that are looped over, texts that are read, lists that become texts.
"""

from collections.abc import Mapping
from typing import Any

# A step takes some 0.2 us, so that no run takes more than a few milliseconds.
STEPS_MAX = 20_000
# A text that is no longer than this is read for nothing, and a longer one takes a step for as many.
TEXT_FREE = 64


class RuleError(Exception):
    """A rule cannot be compiled, or cannot be run with this context; the text may be shown."""


class Run:
    """One evaluation: of which context, when (Unix seconds), and how many steps are left.

    `hashed_key` is the targeting key as the environment's bucketing hashes it, once a rule has
    asked for it; empty when there is none.
    """

    __slots__ = ("context", "hashed_key", "now", "steps")

    def __init__(self, context: Mapping[str, Any], now: int, steps: int = STEPS_MAX) -> None:
        self.context = context
        self.now = now
        self.steps = steps
        self.hashed_key: bytes | None = None

    def spend(self, steps: int) -> None:
        """Take steps away. Raises RuleError when there are none left."""
        self.steps -= steps
        if self.steps < 0:
            raise RuleError("the rule takes too many steps with this context")

    def read(self, text: str) -> None:
        """Take away what it costs to read, copy or compare a text."""
        if len(text) > TEXT_FREE:
            self.spend(len(text) // TEXT_FREE)
