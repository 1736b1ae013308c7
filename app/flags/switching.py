"""The switch of a flag: off for all contexts, and on again with the rules that it had before."""

from collections.abc import Iterable

from app.configuration.changes.history import key_history
from app.configuration.changes.models import Kind
from app.configuration.changes.views import KeyChange
from app.database import Connection
from app.evaluation.plans.plan import PLAN
from app.evaluation.validation import check_flag
from app.flags.editing import (
    Definition,
    serve_all,
    serves_all,
    variant_of,
    with_needs_of,
    with_targeting_of,
)

# Changes of a flag that are searched for its latest targeting.
CHANGES_MAX = 100


def switched_off(definition: Definition, variant: str | None = None) -> Definition:
    """Serve one variant to all: by default the only false one, or the default variant.

    A plan is removed, so that no later step switches the flag on. Raises Invalid, which asks for a
    variant.
    """
    definition = _without_plan(definition)
    return serve_all(definition, variant or variant_of(definition, "variant", value=False))


def switched_on(
    definition: Definition, earlier: Definition | None, variant: str | None = None
) -> Definition:
    """Restore the rules of `earlier`, the latest definition with a targeting.

    A flag that never had rules serves its only true variant to all. With a variant, every flag
    serves that one. A plan is removed. Raises Invalid, which asks for a variant.
    """
    definition = _without_plan(definition)
    if variant is not None:
        return serve_all(definition, variant)
    if serves_all(definition) is None:
        return {**definition, "state": "ENABLED"}
    if earlier is not None:
        return with_targeting_of(definition, earlier)
    served = serve_all(definition, variant_of(definition, "variant", value=True))
    return with_needs_of(served, definition)


def _without_plan(definition: Definition) -> Definition:
    return {name: value for name, value in definition.items() if name != PLAN}


def latest_with_targeting(changes: Iterable[KeyChange]) -> Definition | None:
    """Return the latest valid definition with rules before the changes, the latest change first."""
    for change in changes:
        before = change.before
        if before is not None and before.kind == Kind.FLAG and not check_flag(before.value):
            definition: Definition = before.value
            if definition.get("targeting"):
                return definition
    return None


async def read_latest_with_targeting(
    connection: Connection, environment: str, key: str
) -> Definition | None:
    """Return the latest valid definition with rules in the history of a flag. Raises NotFound."""
    history = await key_history(connection, environment, key, limit=CHANGES_MAX)
    return latest_with_targeting(history.items)
