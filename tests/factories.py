"""Schemas, flags and paths that many tests use."""

import re
from typing import Any

# Checking it doubles the work at each of 40 levels.
COSTLY_SCHEMA: dict[str, Any] = {
    "$defs": {
        "d0": {"anyOf": [{"type": "integer"}]},
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 41)},
    },
    "$ref": "#/$defs/d40",
}


# The budget of a request in tests allows one check of it, but not sixty.
HALF_COSTLY_SCHEMA: dict[str, Any] = {
    "$defs": {name: COSTLY_SCHEMA["$defs"][name] for name in [f"d{n}" for n in range(14)]},
    "items": {"$ref": "#/$defs/d13"},
}


def flag(**members: Any) -> dict[str, Any]:
    """Return the definition of a boolean flag with additional members."""
    return {"state": "ENABLED", "variants": {"on": True, "off": False}, **members}


def filled(path: str, environment: str = "local") -> str:
    """Replace each {name} or {name:pattern} of a route with a value."""
    values = {
        "action": "approve" if "/proposals/" in path else "pause",
        "digest": "0" * 64,
        "environment": environment,
        "id": "0123456789abc",
        "key": "k",
        "name": "console.css",
        "path": "unknown",
        "proposal": "1",
        "revision": "1",
        "ticket": "t",
        "version": "0",
    }
    return re.sub(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}", lambda m: values[m[1]], path)
