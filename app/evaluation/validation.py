"""Validate definitions of flags and segments in flagd's format.

Everything that flagd's published JSON Schema refuses is refused. So is a definition that passes the
schema but cannot be evaluated, or is misleading. Members of a flag that flagd does not define are
stored, and evaluation ignores them.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from app.errors import Violation
from app.evaluation.bucketing import GENERATIONS
from app.evaluation.compiler import Compiler
from app.evaluation.engine import Flag, FlagSet
from app.evaluation.lists import MEMBER, list_reference, names_list
from app.evaluation.needs import needs_in
from app.evaluation.nodes import Location
from app.evaluation.operators import OPERATORS
from app.evaluation.parts import Parts
from app.evaluation.plans.plan import PLAN
from app.evaluation.plans.validation import check_plan
from app.evaluation.run import RuleError
from app.evaluation.targeting import IN_LIST, check_rule, member
from app.evaluation.values import number_text
from app.names import is_stored_key

VIOLATIONS_MAX = 20
VARIANT_NAME_MAX = 255

STATES = ("ENABLED", "DISABLED")
PREREQUISITES_MAX = 20
_GUARD_MEMBERS = {"context", "variant", "name"}
_PREREQUISITE_MEMBERS = {"flag", "variant"}
# flagd finds a variant by the JSON of its name, without quotes and with HTML escaped.
_UNSAFE = re.compile("[\"'\\\\<>&\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TYPES = ((bool,), (str,), (int, float), (dict,))
# The path of a deeply nested part is long.
_SHOWN_MAX = 300
# The choice does not matter: every generation of bucketing compiles the same rules.
_ANY_GENERATION = next(iter(GENERATIONS))
# Another flag has no effect on whether a rule compiles; other checks find out whether it exists.
_ANY_FLAG = Flag("", {}, FlagSet({}, _ANY_GENERATION, {}))

Violations = Iterator[Violation]
_COMPARISONS = {"==", "===", "!=", "!==", ">", ">=", "<", "<=", "sem_ver"}
_TESTS = {"!", "!!", "in", IN_LIST, "all", "none", "some", "starts_with", "ends_with"}
_TRUTHS = _COMPARISONS | _TESTS
Outcomes = Iterator[tuple[Any, str]]


def check_flag(value: Any) -> list[Violation]:
    """Return the first 20 violations of a flag; fields are paths within it."""
    return list(islice(_check_flag(value), VIOLATIONS_MAX))


def check_segment(value: Any) -> list[Violation]:
    """Return the first 20 violations of a segment; fields are paths within it."""
    if names_list(value):
        rule = "must have a count of at most 1,000,000 and a digest of 64 hexadecimal digits"
        return [] if list_reference(value) else [Violation(MEMBER, rule)]
    return list(islice(_check_segment(value), VIOLATIONS_MAX))


def _check_segment(segment: Any) -> Violations:
    is_well_formed = True
    for violation in check_rule(segment, ""):
        is_well_formed = False
        yield violation
    if is_well_formed and any(needs_in(segment)):
        yield Violation(
            "", "must not use the operator flag, which only the targeting of a flag may"
        )


def _check_flag(flag: Any) -> Violations:
    if not isinstance(flag, dict):
        yield Violation("", "must be an object")
        return
    if flag.get("state") not in STATES:
        yield Violation("state", f"must be {' or '.join(STATES)}")
    variants = flag.get("variants")
    yield from _check_variants(variants)
    names = set(variants) if isinstance(variants, dict) else set()
    if "defaultVariant" in flag:
        yield from _check_variant_name(flag["defaultVariant"], names, "defaultVariant")
    yield from _check_targeting(flag.get("targeting", {}), names, "targeting")
    if PLAN in flag:
        yield from check_plan(
            flag[PLAN], names, lambda targeting, path: _check_targeting(targeting, names, path)
        )
    yield from _check_prerequisites(flag.get("prerequisites", []))
    if "offVariant" in flag:
        yield from _check_variant_name(flag["offVariant"], names, "offVariant")
    yield from check_metadata(flag.get("metadata", {}))
    yield from _check_guards(flag.get("guards", []), names)


def _check_variants(variants: Any) -> Violations:
    if not isinstance(variants, dict) or not variants:
        yield Violation("variants", "must be an object with at least one member")
        return
    if any(len(name) not in range(1, VARIANT_NAME_MAX + 1) for name in variants):
        yield Violation("variants", f"must have names of 1 to {VARIANT_NAME_MAX} characters")
    if any(_UNSAFE.search(name) for name in variants):
        rule = "must have names without quotes, backslashes, <, >, & and control characters"
        yield Violation("variants", rule)
    misfits = [name for name, value in variants.items() if value is None or type(value) is list]
    for name in misfits:
        yield Violation(
            member("variants", name), "must be a boolean, a string, a number or an object"
        )
    if misfits:
        return
    if not any(all(_is_of(value, types) for value in variants.values()) for types in _TYPES):
        yield Violation("variants", "must be all booleans, all strings, all numbers or all objects")


def _is_of(value: Any, types: tuple[type, ...]) -> bool:
    # In Python a bool is an int.
    return isinstance(value, types) and (isinstance(value, bool) is (bool in types))


def _check_variant_name(name: Any, names: set[str], path: str) -> Violations:
    """Check the name of a variant or null; any string passes while the variants are invalid."""
    if name is None or (isinstance(name, str) and (name in names or not names)):
        return
    yield Violation(path, "must be the name of a variant, or null")


def _check_targeting(targeting: Any, names: set[str], path: str) -> Violations:
    if targeting == {}:
        return
    is_well_formed = True
    for violation in check_rule(targeting, path):
        is_well_formed = False
        yield violation
    if is_well_formed and names:
        yield from check_outcomes(targeting, names, path)


def _check_prerequisites(prerequisites: Any) -> Violations:
    """Check the prerequisites, an extension of flagd: variants that other flags must give."""
    if not isinstance(prerequisites, list) or len(prerequisites) > PREREQUISITES_MAX:
        yield Violation("prerequisites", f"must be a list of at most {PREREQUISITES_MAX}")
        return
    flags: set[str] = set()
    for position, prerequisite in enumerate(prerequisites):
        path = f"prerequisites[{position}]"
        if not isinstance(prerequisite, dict) or prerequisite.keys() != _PREREQUISITE_MEMBERS:
            yield Violation(path, "must be an object with the members flag and variant")
            continue
        key, variant = prerequisite["flag"], prerequisite["variant"]
        if not (isinstance(key, str) and is_stored_key(key)):
            yield Violation(f"{path}.flag", "must be the key of a flag")
        elif key in flags:
            yield Violation(f"{path}.flag", "must not be repeated")
        else:
            flags.add(key)
        if not (isinstance(variant, str) and variant):
            yield Violation(f"{path}.variant", "must be the name of a variant of that flag")


def check_metadata(metadata: Any) -> Violations:
    """Yield the violations of the metadata of a flag or flag set (OFREP's openapi.yaml)."""
    if not isinstance(metadata, dict):
        yield Violation("metadata", "must be an object")
        return
    for name, value in metadata.items():
        if not isinstance(value, str | bool | int | float):
            yield Violation(member("metadata", name), "must be a string, a number or a boolean")


def _check_guards(guards: Any, names: set[str]) -> Violations:
    """Check the guards, an extension of flagd: contexts for which the flag must give a variant."""
    if not isinstance(guards, list):
        yield Violation("guards", "must be a list")
        return
    for position, guard in enumerate(guards):
        yield from _check_guard(guard, names, f"guards[{position}]")


def _check_guard(guard: Any, names: set[str], path: str) -> Violations:
    if not isinstance(guard, dict):
        yield Violation(path, "must be an object")
        return
    for name in sorted(guard.keys() - _GUARD_MEMBERS):
        yield Violation(member(path, name), f"is not one of {', '.join(sorted(_GUARD_MEMBERS))}")
    if not isinstance(guard.get("context"), dict):
        yield Violation(member(path, "context"), "must be an object")
    if "variant" in guard:
        yield from _check_variant_name(guard["variant"], names, member(path, "variant"))
    else:
        yield Violation(member(path, "variant"), "must be the name of a variant, or null")
    if not isinstance(guard.get("name", ""), str):
        yield Violation(member(path, "name"), "must be a string")


def compile_violation(
    key: str, rule: Any, segments: Mapping[str, Any], parts: Parts | None = None
) -> Violation | None:
    """Return why the rule of a key does not compile with its segments, None when it does.

    With `parts`, calls for many rules compile a segment once, and equal rules too.
    """
    compiler = Compiler(
        flag_key=key,
        segments=segments,
        fractional=_ANY_GENERATION,
        operators=OPERATORS,
        resolve=lambda result: result,
        flag_of=lambda _key: _ANY_FLAG,
        parts=parts,
    )
    try:
        compiler.compile_shared(rule, Location("targeting"))
    except RuleError as error:
        return Violation(key, f"cannot be evaluated: {str(error)[:_SHOWN_MAX]}")
    return None


def check_outcomes(rule: dict[str, Any], variants: set[str], path: str) -> Iterator[Violation]:
    """Yield each result of a well-formed rule that names no variant; null means the default.

    A number names the variant that JavaScript would print for it.
    """
    for outcome, where in _outcomes(rule, path):
        if outcome is None:
            continue
        if isinstance(outcome, bool):
            name = "true" if outcome else "false"
            if name not in variants:
                yield Violation(where, f"can be {name}, so there must be a variant of that name")
        elif not isinstance(outcome, str | int | float):
            yield Violation(where, "must be the name of a variant, true, false or null")
        elif (outcome if isinstance(outcome, str) else number_text(outcome)) not in variants:
            yield Violation(where, "must be the name of a variant")


def _outcomes(rule: Any, path: str) -> Outcomes:
    """Yield each result that is known to be possible, with its path."""
    if not isinstance(rule, dict):
        yield rule, path
        return
    [(operator, operand)] = rule.items()
    inner = f"{path}.{operator}"
    # With one argument, the result of `flag` is a variant of the other flag.
    if operator in _TRUTHS or (operator == "flag" and type(operand) is list and operand[1:]):
        yield True, path
        yield False, path
    elif operator == "if":
        yield from _of_branches(operand, inner)
    elif operator in ("and", "or"):
        yield from _of_operands(operand, inner, ends_with=operator == "or")
    elif operator == "fractional":
        for position, bucket in enumerate(operand):
            if isinstance(bucket, list):
                yield from _outcomes(bucket[0], f"{inner}[{position}][0]")
    elif operator == "var" and isinstance(operand, list) and len(operand) > 1:
        yield from _outcomes(operand[1], f"{inner}[1]")


def _of_branches(operands: list[Any], path: str) -> Outcomes:
    """Yield the results of the branches: every second operand, and the last one."""
    for position, operand in enumerate(operands):
        if position % 2 == 1 or position == len(operands) - 1:
            yield from _outcomes(operand, f"{path}[{position}]")


def _of_operands(operands: list[Any], path: str, *, ends_with: bool) -> Outcomes:
    """Yield the results of `or` (its first true operand) or of `and` (its first false one)."""
    for position, operand in enumerate(operands):
        is_last = position == len(operands) - 1
        for outcome, where in _outcomes(operand, f"{path}[{position}]"):
            if is_last or bool(outcome) is ends_with:
                yield outcome, where
