"""flagd's own operators: on anything that they do not understand their outcome is null."""

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import Any

from app.evaluation.bucketing import SEEDS, bucket, cumulative
from app.evaluation.compiler import Build, Closure, Compiler, Node, Place, Run, runs_of
from app.evaluation.versions import compare, comparison_of, version

Seed = Callable[[Any, str, Any], bytes | None]


def _fractional(compiler: Compiler, raw: Any, place: Place) -> Node:
    nodes = compiler.arguments(raw, place)
    if not nodes:
        return Node(_nothing)
    seed, flag_key = SEEDS[compiler.fractional], compiler.flag_key
    # Without a bucketing value of its own, the first argument is a bucket already.
    by = None if isinstance(nodes[0].literal, list) else nodes[0].run
    buckets = nodes if by is None else nodes[1:]
    if all(node.is_literal for node in buckets):
        return Node(_fixed(seed, flag_key, by, [node.literal for node in buckets]))
    runs = runs_of(nodes)

    def split(data: Any, run: Run) -> Any:
        values = [each(data, run) for each in runs]
        rest = values if isinstance(values[0], list) else values[1:]
        parts = _parts(rest)
        if parts is None:
            return None
        return _chosen(seed(values[0], flag_key, run.context.get("targetingKey")), *parts)

    return Node(split)


def _fixed(seed: Seed, flag_key: str, by: Closure | None, buckets: list[Any]) -> Closure:
    """Return the split over buckets that are always the same, which most are."""
    parts = _parts(buckets)
    if parts is None:
        return _nothing

    def split(data: Any, run: Run) -> Any:
        value = [] if by is None else by(data, run)
        if isinstance(value, list) and by is not None:
            # A computed list is one more bucket before the others.
            computed = _parts([value, *buckets])
            if computed is None:
                return None
            return _chosen(seed(value, flag_key, run.context.get("targetingKey")), *computed)
        return _chosen(seed(value, flag_key, run.context.get("targetingKey")), *parts)

    return split


def _parts(buckets: list[Any]) -> tuple[list[Any], list[int]] | None:
    """Return the variants and the running sums of their weights; None if a bucket is malformed."""
    if not all(isinstance(each, list) and 1 <= len(each) <= 2 for each in buckets):
        return None
    sums = cumulative([each[1] if len(each) == 2 else 1 for each in buckets])
    return None if sums is None else ([each[0] for each in buckets], sums)


def _chosen(seed: bytes | None, variants: list[Any], sums: list[int]) -> Any:
    if seed is None:
        return None
    return variants[bisect_right(sums, bucket(seed, sums[-1]))]


def _sem_ver(compiler: Compiler, raw: Any, place: Place) -> Node:
    nodes = compiler.arguments(raw, place)
    if len(nodes) != 3:
        return Node(_nothing)
    value, comparison, target = runs_of(nodes)
    if nodes[1].is_literal and nodes[2].is_literal and compiler.observe is None:
        fixed, compared = version(nodes[2].literal), comparison_of(nodes[1].literal)
        if fixed is None or compared is None:
            return Node(_nothing)

        def against_fixed(data: Any, run: Run) -> bool | None:
            found = version(value(data, run))
            return None if found is None else compared(found, fixed)

        return Node(against_fixed)
    return Node(
        lambda data, run: compare(value(data, run), comparison(data, run), target(data, run))
    )


def _affix(
    has: Callable[[str, str], bool],
    compiler: Compiler,
    raw: Any,
    place: Place,
) -> Node:
    """Compile starts_with or ends_with, of exactly two texts."""
    nodes = compiler.arguments(raw, place)
    if len(nodes) != 2:
        return Node(_nothing)
    first, second = runs_of(nodes)
    name, fixed = nodes[0].attribute, nodes[1].literal
    if name is not None and isinstance(fixed, str) and compiler.observe is None:

        def fixed_affix(data: Any, _run: Run) -> bool | None:
            text = data.get(name)
            return has(text, fixed) if type(text) is str else None

        return Node(fixed_affix)

    def affix(data: Any, run: Run) -> bool | None:
        text, part = first(data, run), second(data, run)
        if type(text) is str and type(part) is str:
            return has(text, part)
        return None

    return Node(affix)


def _nothing(_data: Any, _run: Run) -> None:
    return None


FLAGD: dict[str, Build] = {
    "fractional": _fractional,
    "sem_ver": _sem_ver,
    "starts_with": partial(_affix, str.startswith),
    "ends_with": partial(_affix, str.endswith),
}
