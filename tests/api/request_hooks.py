"""What `schemathesis.toml` cannot say of the requests that are generated."""

from typing import Any

import schemathesis

# The first gives way to the second: OpenAPI has no words for two of which one may come, and nearly
# every request that is allowed both would end at that rule.
_EXCLUSIVE = (("If-Match", "If-None-Match"), ("against", "from"), ("at", "revision"))


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Leave out what excludes something else."""
    del context, kwargs
    for given in (case.headers, case.query):
        for first, second in _EXCLUSIVE:
            if first in given and second in given:
                del given[first]
