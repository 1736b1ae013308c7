"""Find the flags and segments that refer to segments, in the compiled rules of an environment."""

from collections import defaultdict
from collections.abc import Collection, Iterator

from app.configuration.changes.references import names_in, reachable
from app.evaluation.ruleset import Ruleset, decode_definition


def referring_keys(rules: Ruleset, segments: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each flag and segment that directly names a segment, with that segment."""
    # Only the few definitions that have such a text are decoded.
    texts = [f'"{segment}"'.encode() for segment in segments]
    for key, raw in rules.definitions.items():
        if b'"$ref"' in raw and any(text in raw for text in texts):
            definition = decode_definition(raw)
            rule = definition.get("targeting") if isinstance(definition, dict) else None
            yield from ((key, name) for name in sorted(set(names_in(rule))) if name in segments)
    for key, segment in rules.segments.items():
        yield from ((key, name) for name in sorted(set(names_in(segment))) if name in segments)


def flags_using(rules: Ruleset, segments: Collection[str]) -> list[str]:
    """Return the flags that use one of these segments, directly or through other segments."""
    if not segments:
        return []
    users: defaultdict[str, set[str]] = defaultdict(set)
    for key, segment in rules.segments.items():
        for name in names_in(segment):
            users[name].add(key)
    reached = reachable(set(segments), users)
    keys = {key for key, _ in referring_keys(rules, reached)}
    return sorted(keys & rules.definitions.keys())
