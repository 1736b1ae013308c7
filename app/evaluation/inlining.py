"""Replace the flags that a flag needs by their rules, for evaluators that know flagd's operators.

A copied rule must not depend on the flag that it stands in: the key of the flag is replaced by
that of the other one. This is impossible where JsonLogic cannot express the result. Such a flag
raises NotInlinedError with the reason, and so does each flag that needs it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from app.evaluation.compiler import FLAG_LEVELS_MAX
from app.evaluation.flag_operator import needed_variant
from app.evaluation.needs import OPERATOR, needs_of, prerequisites_of
from app.evaluation.plans.compiling import without_plan
from app.evaluation.targeting import REFERENCE
from app.evaluation.validation import compile_violation
from app.evaluation.values import number_text

# The limit of all copies together, and of the depth of a rule with its copies.
COPIED_BYTES_MAX = 8 * 1024 * 1024
_DEPTH_MAX = 120
_NEEDING = ("prerequisites", "offVariant")
_FLAG_KEY = "$flagd.flagKey"
_CURRENT = {"var": "current"}
_TARGETING_KEY = {"var": "targetingKey"}
_LOOPS = frozenset({"map", "filter", "all", "none", "some", "reduce"})
_SPLIT = "splits by the targeting key; put the key of the flag and an attribute first in the split"


class NotInlinedError(Exception):
    """A flag cannot be written for other evaluators. The text is the reason."""


class _Copy(NamedTuple):
    """A rule with its size in bytes and its depth, which may share parts with others."""

    rule: Any
    size: int
    depth: int


class Inliner:
    """Writes the flags of an environment without the flags that they need."""

    def __init__(
        self, flags: Mapping[str, Any], segments: Mapping[str, Any], fractional: str
    ) -> None:
        self.segments = segments
        self.fractional = fractional
        self._flags = flags
        self._bytes_left = COPIED_BYTES_MAX
        # The rule of each needed flag, None if the rule fails, or why it cannot be copied.
        self._rules: dict[str, _Copy | NotInlinedError | None] = {}
        self._open: list[str] = []

    def inlined(self, key: str) -> Any:
        """Return a flag without plan and needs. Raises NotInlinedError."""
        definition = self._flags[key]
        if not isinstance(definition, dict):
            return definition
        plain = without_plan(definition)
        if not any(needs_of(definition)):
            return plain
        self._open = [key]
        rule = self._whole_rule(definition, own_key=None)
        if rule.depth > _DEPTH_MAX:
            raise NotInlinedError(f"its rules nest deeper than {_DEPTH_MAX} together")
        if rule.size > self._bytes_left:
            raise NotInlinedError(f"all copied rules have more than {COPIED_BYTES_MAX} bytes")
        self._bytes_left -= rule.size
        others = {name: plain[name] for name in plain if name not in _NEEDING}
        targeting = rule.rule if isinstance(rule.rule, dict) else {"if": [rule.rule]}
        return {**others, "targeting": targeting}

    def needed(self, raw: Any) -> _Copy:
        """Return the rule that stands for an operator `flag`."""
        arguments = needed_variant(raw)
        if arguments is None:
            raise NotInlinedError("an operator flag has wrong arguments")
        key, variant = arguments
        return self._variant(key) if variant is None else self._is_given(key, variant)

    def _whole_rule(self, definition: Mapping[str, Any], own_key: str | None) -> _Copy:
        """Return the targeting of a flag with its prerequisites."""
        copier = RuleCopier(self, own_key)
        rule = copier.copied(without_plan(definition).get("targeting") or None)
        met = [self._is_given(*need) for need in prerequisites_of(definition)]
        if not met:
            return rule
        off = definition.get("offVariant") or definition.get("defaultVariant")
        return joined(
            lambda *parts: {"if": [{"and": [*parts[:-1]]}, parts[-1], off]}, *met, rule, levels=4
        )

    def _is_given(self, key: str, variant: str | None) -> _Copy:
        """Return the rule whether a flag gives a variant."""
        given = self._rule_of(key)
        if not isinstance(given, _Copy):
            return leaf(given is not None and given == variant)
        if variant not in self._names(key):
            return leaf(value=False)
        results = [variant, *_other_results(variant)]
        if self._default(key) == variant:
            results.append(None)
        return joined(lambda rule: {"in": [rule, results]}, given, levels=2)

    def _variant(self, key: str) -> _Copy:
        """Return the rule for the name of the variant that a flag gives."""
        given = self._rule_of(key)
        if not isinstance(given, _Copy):
            return leaf(given)
        text = {"cat": [_CURRENT]}
        known = {"in": [text, sorted(self._names(key))]}
        is_default = {"===": [_CURRENT, None]}
        name = {"if": [is_default, self._default(key), known, text, None]}
        # The rule is evaluated once, and its result is the only element of a list.
        return joined(lambda rule: {"reduce": [[rule], name, None]}, given, levels=3)

    def _rule_of(self, key: str) -> "_Copy | str | None":
        """Return the rule of a flag, or the name of the variant that it always gives."""
        definition = self._flags.get(key)
        if definition is None:
            raise NotInlinedError(f"needs {key}, which is no flag")
        plain = without_plan(definition) if isinstance(definition, dict) else {}
        if plain.get("state") != "ENABLED":
            return None
        if not plain.get("targeting") and not plain.get("prerequisites"):
            default = plain.get("defaultVariant")
            return default if default in self._names(key) else None
        if key not in self._rules:
            self._rules[key] = self._copied_rule(key, definition, plain)
        rule = self._rules[key]
        if isinstance(rule, NotInlinedError):
            raise rule
        return rule

    def _copied_rule(
        self, key: str, definition: Mapping[str, Any], plain: Mapping[str, Any]
    ) -> "_Copy | NotInlinedError | None":
        if key in self._open or len(self._open) > FLAG_LEVELS_MAX:
            raise NotInlinedError("needs itself, or too many flags in a chain")
        targeting = plain.get("targeting")
        if targeting and compile_violation(key, targeting, self.segments) is not None:
            return None
        self._open.append(key)
        try:
            return self._whole_rule(definition, own_key=key)
        except NotInlinedError as error:
            return NotInlinedError(f"needs {key}: {error}")
        finally:
            self._open.pop()

    def _names(self, key: str) -> set[str]:
        """Return the names of the variants that have a value."""
        definition = self._flags[key]
        variants = definition.get("variants") if isinstance(definition, dict) else None
        if not isinstance(variants, dict):
            return set()
        return {name for name, value in variants.items() if value is not None}

    def _default(self, key: str) -> Any:
        default = without_plan(self._flags[key]).get("defaultVariant")
        return default if default in self._names(key) else None


class RuleCopier:
    """Copies a rule, with the rules of needed flags in place of the operators `flag`.

    With `own_key`, the copy gives the same result in the rule of another flag.
    """

    def __init__(self, inliner: Inliner, own_key: str | None) -> None:
        self._inliner = inliner
        self._own_key = own_key
        self._is_scoped = False

    def copied(self, rule: Any) -> _Copy:
        if isinstance(rule, list) and any(type(part) in (dict, list) for part in rule):
            return joined(lambda *parts: [*parts], *map(self.copied, rule))
        if not isinstance(rule, dict) or len(rule) != 1:
            return leaf(rule)
        ((operator, operand),) = rule.items()
        if operator == OPERATOR:
            self._must_not_be_scoped()
            return self._inliner.needed(operand)
        if operator in _LOOPS and isinstance(operand, list):
            return self._copied_loop(operator, operand)
        copied = None if self._own_key is None else self._without_own_key(operator, operand)
        return copied or joined(lambda part: {operator: part}, self.copied(operand))

    def _without_own_key(self, operator: str, operand: Any) -> _Copy | None:
        """Return the copy of an operator that may depend on the key of the flag."""
        match operator:
            case "var" if not self._is_scoped:
                return self._copied_variable(operand)
            case "fractional":
                return self._copied_split(operand)
            case "$ref" if self._is_keyed(operand):
                return self.copied(self._inliner.segments[operand])
            case _:
                return None

    def _must_not_be_scoped(self) -> None:
        if self._is_scoped:
            raise NotInlinedError("needs the context within a loop")

    def _copied_loop(self, operator: str, operands: list[Any]) -> _Copy:
        first, rest = [self.copied(part) for part in operands[:1]], []
        was_scoped, self._is_scoped = self._is_scoped, True
        try:
            rest = [self.copied(part) for part in operands[1:]]
        finally:
            self._is_scoped = was_scoped
        return joined(lambda *parts: {operator: [*parts]}, *first, *rest)

    def _copied_variable(self, operand: Any) -> _Copy:
        name = operand[0] if isinstance(operand, list) and operand else operand
        if name == _FLAG_KEY:
            return leaf(self._own_key)
        if not isinstance(name, str | int | float) or name in ("", "$flagd"):
            raise NotInlinedError("reads the whole context, or a computed attribute")
        return joined(lambda part: {"var": part}, self.copied(operand))

    def _copied_split(self, operand: Any) -> _Copy:
        if not isinstance(operand, list) or (operand and not isinstance(operand[0], list)):
            return joined(lambda part: {"fractional": part}, self.copied(operand))
        self._must_not_be_scoped()
        if self._inliner.fractional == "v2":
            by = {"cat": [self._own_key, _TARGETING_KEY]}
            whole = [by, *operand]
            split = joined(lambda part: {"fractional": part}, self.copied(whole))
        else:
            split = self._only_share(operand)
        return joined(lambda part: {"if": [_TARGETING_KEY, part, None]}, split, levels=2)

    def _only_share(self, buckets: list[Any]) -> _Copy:
        """Return the share that gets all users. No other value can be hashed as v3 hashes two."""
        weights = [1 if len(bucket) < 2 else bucket[1] for bucket in buckets]
        shares = [at for at, weight in enumerate(weights) if weight != 0]
        if len(shares) != 1 or not isinstance(weights[shares[0]], int):
            raise NotInlinedError(_SPLIT)
        return self.copied(buckets[shares[0]][0])

    def _is_keyed(self, name: Any) -> bool:
        """Return whether the result of a segment may depend on the flag that uses it."""
        segments, waiting, seen = self._inliner.segments, [{REFERENCE: name}], set[str]()
        while waiting:
            node: Any = waiting.pop()
            if isinstance(node, list):
                waiting += node
            elif isinstance(node, dict):
                if node.keys() & {"fractional"} or _reads_flag(node.get("var", "-")):
                    return True
                name = node.get(REFERENCE)
                if isinstance(name, str) and name in segments and name not in seen:
                    seen.add(name)
                    waiting.append(segments[name])
                waiting += node.values()
        return False


def _reads_flag(variable: Any) -> bool:
    name = variable[0] if isinstance(variable, list) and variable else variable
    return not isinstance(name, str | int | float) or name in ("", "$flagd", _FLAG_KEY)


def _other_results(variant: str) -> list[Any]:
    """Return the results of a rule, other than its name, that give a variant."""
    if variant in ("true", "false"):
        return [variant == "true"]
    try:
        number = msgspec.json.decode(variant.encode(errors="surrogatepass"))
    except msgspec.DecodeError:
        return []
    is_number = isinstance(number, int | float) and number_text(number) == variant
    return [number] if is_number else []


def leaf(value: Any) -> _Copy:
    """Return a value that is not a rule."""
    return _Copy(value, len(msgspec.json.encode(value)), 1)


def joined(join: Callable[..., Any], *parts: _Copy, levels: int = 1) -> _Copy:
    """Return a rule made of copies, which stand that many levels deeper."""
    own = len(msgspec.json.encode(join(*[0 for _ in parts])))
    size = own + sum(part.size for part in parts)
    depth = levels + max((part.depth for part in parts), default=0)
    return _Copy(join(*[part.rule for part in parts]), size, depth)
