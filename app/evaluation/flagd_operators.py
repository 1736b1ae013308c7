"""flagd's operators `fractional` and `sem_ver`. Both return null for invalid operands."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.evaluation.bucketing import (
    GENERATIONS,
    Generation,
    bucket,
    cumulative,
    digest,
    hashed_key,
    limits_of,
    plain,
)
from app.evaluation.choices import HEAD_MAX, Choice, Draw, Form, Seeding
from app.evaluation.compiler import Build, Compiler
from app.evaluation.nodes import Location, Node, called, nothing
from app.evaluation.run import Run
from app.evaluation.semver import compare, comparison_of, version


class Buckets(NamedTuple):
    """The variants of a split, and the running sums of their weights."""

    variants: Sequence[Any]
    sums: tuple[int, ...]

    def of(self, seed: bytes) -> Any:
        return self.variants[bisect_right(self.sums, bucket(seed, self.sums[-1]))]


def draw(
    values: Sequence[Any], fractional: str, flag_key: str, run: Run
) -> tuple[Buckets, int | None] | None:
    """Return the buckets and the number that the bucketing value falls on, for an explanation.

    Returns None when a bucket is malformed. The number is None without a bucketing value.
    """
    buckets = _buckets(values if isinstance(values[0], list) else values[1:])
    if buckets is None:
        return None
    generation = GENERATIONS[fractional]
    seed = _seed(generation, generation.head(flag_key), values[0], run)
    return buckets, None if seed is None else bucket(seed, buckets.sums[-1])


def _fractional(compiler: Compiler, raw: Any, location: Location) -> Node:
    nodes = compiler.arguments(raw, location)
    if not nodes:
        return Node(nothing)
    # A split reads at least the targeting key.
    compiler.analysis.lookups += 1
    generation = GENERATIONS[compiler.fractional]
    split = _splitter(generation, generation.head(compiler.own_key()))
    if not all(node.is_literal for node in nodes[1:]):
        return called(split, nodes)
    literals = [node.literal for node in nodes]
    if isinstance(literals[0], list):
        buckets = _buckets(literals)
        return Node(nothing) if buckets is None else _by_targeting_key(compiler, buckets, location)
    return _by_value(compiler, nodes[0], literals[1:], split, location)


def _by_value(
    compiler: Compiler,
    by: Node,
    literals: Sequence[Any],
    split: Callable[..., Any],
    location: Location,
) -> Node:
    """Compile a split with literal buckets and a bucketing value; `split` is for other values."""
    read, seed_of = by.run, GENERATIONS[compiler.fractional].seed
    buckets = _buckets(literals)

    def split_fixed(data: Any, run: Run) -> Any:
        value = read(data, run)
        if isinstance(value, list):
            return split(run, value, *literals)
        seed = seed_of(value, run)
        return None if buckets is None or seed is None else buckets.of(seed)

    node = Node(split_fixed)
    draw = _draw_by(compiler, by, buckets) if location.is_result and buckets is not None else None
    if draw is None:
        return node
    return compiler.resolved(node)._replace(choice=Choice((), (draw,)))


def _draw_by(compiler: Compiler, by: Node, buckets: Buckets) -> Draw | None:
    """Return a split by an attribute, or by a string and an attribute; None for other values."""
    if by.attribute is not None:
        form, attribute, head = Form.ATTRIBUTE, by.attribute, b""
    elif by.prefixed is not None:
        form, attribute, head = Form.TEXT, by.prefixed.attribute, plain(by.prefixed.prefix)
    else:
        return None
    if len(head) > HEAD_MAX:
        return None
    answers = [compiler.resolve(variant) for variant in buckets.variants]
    seeding = Seeding(form, attribute, compiler.fractional)
    return Draw(seeding, head, limits_of(buckets.sums), answers)


def _by_targeting_key(compiler: Compiler, buckets: Buckets, location: Location) -> Node:
    """Compile the usual split: literal buckets, and the targeting key as bucketing value."""
    generation = GENERATIONS[compiler.fractional]
    head = generation.head(compiler.own_key())
    variants, limits = buckets.variants, limits_of(buckets.sums)
    without_key, choice = None, None
    if location.is_result:
        variants = [compiler.resolve(variant) for variant in variants]
        without_key = compiler.resolve(None)
        seeding = Seeding(Form.PAIR, "targetingKey", compiler.fractional)
        choice = Choice((), (Draw(seeding, head, limits, variants),))

    def split(_data: Any, run: Run) -> Any:
        key = run.hashed_key
        if key is None:
            key = hashed_key(generation, run)
        if not key:
            return without_key
        # As `Buckets.of`, inlined to save calls for each flag of a bulk.
        return variants[bisect_right(limits, digest(head + key))]

    return Node(split, is_resolved=location.is_result, choice=choice)


def _splitter(generation: Generation, head: bytes) -> Callable[..., Any]:
    def split(run: Run, *values: Any) -> Any:
        # Without a bucketing value, the first argument is a bucket.
        buckets = _buckets(values if isinstance(values[0], list) else values[1:])
        seed = _seed(generation, head, values[0], run)
        return None if buckets is None or seed is None else buckets.of(seed)

    return split


def _seed(generation: Generation, head: bytes, value: Any, run: Run) -> bytes | None:
    """Return the bytes to hash: of the bucketing value, or of the targeting key without one."""
    if not isinstance(value, list):
        return generation.seed(value, run)
    key = hashed_key(generation, run)
    return head + key if key else None


def _buckets(values: Sequence[Any]) -> Buckets | None:
    """Return the variants and the running sums of their weights; None if one is malformed."""
    if not all(isinstance(value, list) and 1 <= len(value) <= 2 for value in values):
        return None
    sums = cumulative([value[1] if len(value) == 2 else 1 for value in values])
    return None if sums is None else Buckets([value[0] for value in values], tuple(sums))


def _sem_ver(compiler: Compiler, raw: Any, location: Location) -> Node:
    nodes = compiler.arguments(raw, location)
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
        actual = version(read(data, run), run)
        return None if actual is None else is_met(actual, fixed)

    return Node(against_fixed)


FLAGD: dict[str, Build] = {"fractional": _fractional, "sem_ver": _sem_ver}
