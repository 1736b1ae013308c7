"""Change the prerequisites of a flag, and write them as text, one in each line."""

from collections.abc import Iterator
from typing import Any

from app.errors import invalid
from app.evaluation.needs import Need, prerequisites_of
from app.flags.editing import Definition

_SEPARATOR = " = "


def with_prerequisite(
    definition: Definition, flag: str, variant: str, off_variant: str | None = None
) -> Definition:
    """Add a prerequisite, or replace that of the same flag."""
    kept = [need for need in prerequisites_of(definition) if need.flag != flag]
    changed = {**definition, "prerequisites": _members([*kept, Need(flag, variant)])}
    return changed if off_variant is None else {**changed, "offVariant": off_variant}


def without_prerequisite(definition: Definition, flag: str) -> Definition:
    """Remove the prerequisite of a flag. Without any, the off variant goes too. Raises Invalid."""
    needs = list(prerequisites_of(definition))
    kept = [need for need in needs if need.flag != flag]
    if kept == needs:
        raise invalid("flag", f"must be a prerequisite; this flag does not need {flag}")
    others = {
        name: value
        for name, value in definition.items()
        if name not in ("prerequisites", "offVariant")
    }
    if not kept:
        return others
    return {**definition, "prerequisites": _members(kept)}


def prerequisites_as_text(definition: Definition) -> str:
    """Return a line `FLAG = VARIANT` for each prerequisite."""
    return "\n".join(
        f"{flag}{_SEPARATOR}{variant}" for flag, variant in prerequisites_of(definition)
    )


def read_prerequisites(text: str) -> list[dict[str, Any]]:
    """Return the prerequisites of lines `FLAG = VARIANT`. Raises ValueError."""
    return _members(_needs(text))


def _needs(text: str) -> Iterator[Need]:
    for line in filter(None, map(str.strip, text.splitlines())):
        flag, separator, variant = (part.strip() for part in line.partition("="))
        if not (flag and separator and variant):
            raise ValueError(f"must be a flag, = and a variant in each line, not {line}")
        yield Need(flag, variant)


def _members(needs: Any) -> list[dict[str, Any]]:
    return [{"flag": flag, "variant": variant} for flag, variant in needs]
