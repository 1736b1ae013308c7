"""Things that many tests need and that are beside their point."""

import re
from typing import Any

# A check of it doubles its work at each of 40 levels.
COSTLY_SCHEMA: dict[str, Any] = {
    "$defs": {
        "d0": {"anyOf": [{"type": "integer"}]},
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 41)},
    },
    "$ref": "#/$defs/d40",
}


# One check of it is well within the budget that tests give to a request, and sixty are not.
HALF_COSTLY_SCHEMA: dict[str, Any] = {
    "$defs": {name: COSTLY_SCHEMA["$defs"][name] for name in [f"d{n}" for n in range(14)]},
    "items": {"$ref": "#/$defs/d13"},
}


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
