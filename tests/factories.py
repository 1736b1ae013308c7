"""Things that many tests need and that are beside their point."""

import re
from typing import Any


def flag(**members: Any) -> dict[str, Any]:
    """Make the definition of a flag that is on or off, with these members besides."""
    return {"state": "ENABLED", "variants": {"on": True, "off": False}, **members}


def filled(path: str, environment: str = "local") -> str:
    """Put a value in the place of each {name} or {name:pattern} of a route."""
    values = {
        "environment": environment,
        "id": "0123456789abc",
        "key": "k",
        "revision": "1",
        "ticket": "t",
    }
    return re.sub(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}", lambda m: values[m[1]], path)
