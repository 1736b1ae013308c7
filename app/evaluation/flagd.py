"""flagd's `fractional` and `sem_ver`: on anything that they do not understand they give null."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from app.evaluation.bucketing import SEEDS, Seed, bucket, cumulative
from app.evaluation.compiler import Build, Compiler, Node, Place, called, nothing
from app.evaluation.run import Run
from app.evaluation.versions import compare, comparison_of, version


class Buckets(NamedTuple):
    """What is split: the variants, and the running sums of their weights."""

    variants: Sequence[Any]
    sums: Sequence[int]

    def of(self, seed: bytes) -> Any:
        return self.variants[bisect_right(self.sums, bucket(seed, self.sums[-1]))]


def drawn(
    values: Sequence[Any], fractional: str, flag_key: str, run: Run
) -> tuple[Buckets, int | None] | None:
    """Return what `fractional` makes of its operands' values, None when a bucket is malformed.

    With the number that the bucketing value falls on, None when there is no such value.
    """
    buckets = _buckets(values if isinstance(values[0], list) else values[1:])
    if buckets is None:
        return None
    seed = SEEDS[fractional](values[0], flag_key, run)
    return buckets, None if seed is None else bucket(seed, buckets.sums[-1])


def _fractional(compiler: Compiler, raw: Any, place: Place) -> Node:
    nodes = compiler.arguments(raw, place)
    if not nodes:
        return Node(nothing)
    seed, flag_key = SEEDS[compiler.fractional], compiler.flag_key
    if not all(node.is_literal for node in nodes[1:]):
        return called(partial(_split, seed, flag_key), nodes)
    literals = [node.literal for node in nodes]
    is_short = isinstance(literals[0], list)
    buckets = _buckets(literals if is_short else literals[1:])
    by = nodes[0].run

    def split_fixed(data: Any, run: Run) -> Any:
        value = by(data, run)
        if isinstance(value, list) and not is_short:
            return _split(seed, flag_key, run, value, *literals[1:])
        hashed = seed(value, flag_key, run)
        return None if buckets is None or hashed is None else buckets.of(hashed)

    return Node(split_fixed)


def _split(seed: Seed, flag_key: str, run: Run, *values: Any) -> Any:
    # Without a bucketing value of its own, the first argument is a bucket already.
    buckets = _buckets(values if isinstance(values[0], list) else values[1:])
    hashed = seed(values[0], flag_key, run)
    return None if buckets is None or hashed is None else buckets.of(hashed)


def _buckets(values: Sequence[Any]) -> Buckets | None:
    """Return the variants and the running sums of their weights; None if one is malformed."""
    if not all(isinstance(each, list) and 1 <= len(each) <= 2 for each in values):
        return None
    sums = cumulative([each[1] if len(each) == 2 else 1 for each in values])
    return None if sums is None else Buckets([each[0] for each in values], sums)


def _sem_ver(compiler: Compiler, raw: Any, place: Place) -> Node:
    nodes = compiler.arguments(raw, place)
    if len(nodes) != 3:
        return Node(nothing)
    value, comparison, target = nodes
    if not (comparison.is_literal and target.is_literal):
        return called(compare, nodes)
    is_met, fixed = comparison_of(comparison.literal), version(target.literal, Run({}, 0))
    if is_met is None or fixed is None:
        return Node(nothing)
    read = value.run

    def against_fixed(data: Any, run: Run) -> bool | None:
        found = version(read(data, run), run)
        return None if found is None else is_met(found, fixed)

    return Node(against_fixed)


FLAGD: dict[str, Build] = {"fractional": _fractional, "sem_ver": _sem_ver}
