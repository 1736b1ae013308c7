"""Say how the prerequisites of a flag changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET

from app.evaluation.needs import prerequisites_of
from app.flags.change_words.sentences import NOW, Part, Sentence, name, sentence
from app.flags.change_words.values import describe_value


def describe_prerequisites(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Sentence]:
    """Yield one sentence for each prerequisite that was added, changed or removed."""
    old, new = (dict(prerequisites_of(definition)) for definition in (before, after))
    for flag, variant in new.items():
        if old.get(flag) != variant:
            yield sentence("The flag ", NOW, "needs ", *_need(flag, variant))
    for flag, variant in old.items():
        if flag not in new:
            yield sentence("The flag no longer needs ", *_need(flag, variant))
    if not old and not new:
        sides = (side.get("prerequisites", UNSET) for side in (before, after))
        yield from describe_value(("Prerequisites",), *sides)
    sides = (side.get("offVariant", UNSET) for side in (before, after))
    yield from describe_value(("Off variant",), *sides)


def _need(flag: str, variant: str | None) -> tuple[Part, ...]:
    return name(flag), " to give ", name(variant or "")
