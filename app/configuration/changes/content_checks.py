"""Where the contents of a write are checked: small ones on the event loop, others in a thread."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from app.configuration.changes.models import Content
from app.configuration.json_schema.linear import linear_steps
from app.configuration.json_schema.pool import PROCESSES_MAX, Checkers, RequestCheck
from app.configuration.json_schema.validation import count_parts
from app.threads import ThreadLimiter, in_thread

Result = TypeVar("Result")

# On the event loop, about 3 ms together.
_QUICK_PARTS_MAX = 1_000
_QUICK_STEPS_MAX = 50_000
_WAIT_SECONDS = 1.0


class ContentChecks:
    """Runs the checks of one request at a time in few threads, each with at most one process."""

    def __init__(self) -> None:
        self.checkers = Checkers()
        # As many as there are processes, so that one that waits for a process holds up no other.
        self._limiter = ThreadLimiter(_WAIT_SECONDS, slots=PROCESSES_MAX)

    async def run(
        self, contents: Iterable[Content], work: Callable[[RequestCheck], Result]
    ) -> Result:
        """Return the result of the work, which checks these contents. Raises Unavailable too."""

        def checked() -> Result:
            with self.checkers.request() as check:
                return work(check)

        return checked() if _are_quick(contents) else await self._limiter.run("check", checked)

    async def close(self) -> None:
        """End the processes. A check that is under way fails."""
        await in_thread("checkers-end", self.checkers.close)


def _are_quick(contents: Iterable[Content]) -> bool:
    parts = steps = 0
    for content in contents:
        parts += count_parts(content.value) + count_parts(content.schema)
        if parts > _QUICK_PARTS_MAX:
            return False
        if content.schema is not None:
            own_steps = linear_steps(content.schema, content.value)
            if own_steps is None:
                return False
            steps += own_steps
    return steps <= _QUICK_STEPS_MAX
