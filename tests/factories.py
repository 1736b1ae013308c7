"""Things that many tests need and that are beside their point."""

from typing import Any


def flag(**members: Any) -> dict[str, Any]:
    """Make the definition of a flag that is on or off, with these members besides."""
    return {"state": "ENABLED", "variants": {"on": True, "off": False}, **members}
