"""Check the contents of a write: small ones on the event loop, others in a thread."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from app.configuration.changes.models import Content
from app.configuration.json_schema.pool import PROCESSES_MAX, Checkers, RequestCheck, linear_steps
from app.configuration.json_schema.validation import count_parts
from app.threads import ThreadLimiter, in_thread

Result = TypeVar("Result")

# At most about 3 ms on the event loop.
_QUICK_PARTS_MAX = 1_000
_QUICK_STEPS_MAX = 50_000
_WAIT_SECONDS = 1.0


class ContentChecks:
    """Run the checks of requests in a few threads, each with at most one checker process."""

    def __init__(self) -> None:
        self.checkers = Checkers()
        # One thread per process, so that a check that waits for its process delays no other.
        self._limiter = ThreadLimiter(_WAIT_SECONDS, slots=PROCESSES_MAX)

    async def run(
        self, contents: Iterable[Content], work: Callable[[RequestCheck], Result]
    ) -> Result:
        """Return the result of the work, which checks these contents. Also raises Unavailable."""

        def checked() -> Result:
            with self.checkers.request() as check:
                return work(check)

        return checked() if are_quick(contents) else await self._limiter.run("check", checked)

    async def close(self) -> None:
        """Stop the checker processes. A running check fails."""
        await in_thread("checkers-end", self.checkers.close)


def are_quick(contents: Iterable[Content]) -> bool:
    parts = steps = 0
    for content in contents:
        parts += count_parts(content.value) + count_parts(content.schema)
        if parts > _QUICK_PARTS_MAX:
            return False
        if content.schema is not None:
            schema_steps = linear_steps(content.schema, content.value)
            if schema_steps is None:
                return False
            steps += schema_steps
    return steps <= _QUICK_STEPS_MAX
