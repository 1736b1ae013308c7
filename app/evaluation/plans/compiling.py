"""Turn a definition with a plan into a plain definition of flagd.

Its targeting chooses the period by `$flagd.timestamp`, so that every evaluator changes at the same
second. A rollout is a `fractional` whose first share grows, so a context that has got the variant
keeps it while the percentage grows.

flagd can turn off a flag at no time. So a flag that is DISABLED in some period has no default
variant, and its rule gives none in these periods: the caller's own default applies. In all other
periods the rule then names the default variant itself.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from itertools import groupby, pairwise
from typing import Any

from app.evaluation.plans.periods import Period, period_at, periods
from app.evaluation.plans.plan import PLAN, RolloutShare, read_plan
from app.evaluation.targeting import IN_LIST
from app.evaluation.values import number_text

_CLOCK = {"var": "$flagd.timestamp"}
# The results of these are booleans for every context.
_TRUTHS = frozenset({"==", "===", "!=", "!==", ">", ">=", "<", "<=", "!", "!!", "in"})
_TRUTHS |= {"all", "none", "some", "starts_with", "ends_with", IN_LIST}
# The results of these are such booleans, or null.
_MAYBE_TRUTHS = frozenset({"sem_ver", "$ref"})
_ALL = Decimal(100)

# A rule that applies until an instant; the last one has none.
_Branch = tuple[int | None, Any]
# Periods with equal rules, each with the instant at which it ends.
_Group = Sequence[tuple[int | None, Period]]
# Returns the rule for the contexts that no rule catches, given what they get without it.
_Rest = Callable[[Any], Any]


class _Named(dict[str, Any]):
    """A rule that names the default variant already, where it applies."""


def without_plan(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the plain definition, which changes with the time as the plan says.

    A definition without a plan is returned as it is. A plan that breaks its format is ignored.
    """
    if PLAN not in definition:
        return definition
    plan = read_plan(definition)
    plain = {name: value for name, value in definition.items() if name != PLAN}
    all_periods = [] if plan is None else periods(definition, plan)
    if len(all_periods) < 2:
        return plain
    enabled = [period for period in all_periods if period.state == "ENABLED"]
    if not enabled:
        return plain
    names_default = len(enabled) < len(all_periods) or any(
        before.default != after.default for before, after in pairwise(enabled)
    )
    plain |= {"state": "ENABLED", "defaultVariant": enabled[0].default}
    if names_default or plain["defaultVariant"] is None:
        del plain["defaultVariant"]
    plain["targeting"] = _targeting(all_periods, names_default=names_default)
    return plain


def definition_at(definition: Mapping[str, Any], now: int) -> Mapping[str, Any]:
    """Return the definition of a single instant, without a plan."""
    if PLAN not in definition:
        return definition
    plan = read_plan(definition)
    plain = {name: value for name, value in definition.items() if name != PLAN}
    if plan is None:
        return plain
    period = period_at(periods(definition, plan), now)
    if not period.step:
        return plain
    members = {"state": period.state, "defaultVariant": period.default}
    targeting = _filled(period.targeting, partial(_changing, [(None, period)]))
    plain |= members | {"targeting": targeting if isinstance(targeting, dict) else None}
    if isinstance(targeting, str | bool):
        # A rollout of 100 % without rules.
        plain["targeting"] = {"if": [targeting]}
    for name in ("defaultVariant", "targeting"):
        if plain[name] is None:
            del plain[name]
    return plain


def _targeting(all_periods: Sequence[Period], *, names_default: bool) -> dict[str, Any]:
    """Return the rule that chooses the period. Periods that differ in the rollout share rules."""
    branches: list[_Branch] = []
    ends = {before.begin: after.begin for before, after in pairwise(all_periods)}
    for _, members in groupby(all_periods, lambda p: (p.state, p.default, repr(p.targeting))):
        group = [(ends.get(period.begin), period) for period in members]
        end, last = group[-1]
        if last.state != "ENABLED":
            branches.append((end, None))
        elif names_default and last.default is not None:
            rule = _filled(last.targeting, partial(_named, group))
            branches.append((end, _with_default(rule, last.default)))
        elif last.targeting:
            branches.append((end, _filled(last.targeting, partial(_changing, group))))
        else:
            branches += _rests(group, None)
    chosen = _chosen(branches)
    return chosen if isinstance(chosen, dict) else {"if": [chosen]}


def _chosen(branches: Sequence[_Branch]) -> Any:
    """Return the rule that applies the first branch whose end is not reached."""
    operands: list[Any] = []
    for (end, rule), following in zip(branches, [*branches[1:], None], strict=True):
        if following is None:
            operands.append(rule)
        elif rule != following[1]:
            operands += [{"<": [_CLOCK, end]}, rule]
    return {"if": operands} if len(operands) > 1 else operands[0]


def _changing(group: _Group, otherwise: Any) -> Any:
    """Return the rule for the contexts that no rule catches, in all periods of a group."""
    return _chosen(_rests(group, otherwise))


def _rests(group: _Group, otherwise: Any, *, has_key: bool = True) -> list[_Branch]:
    """Return that rule for each period, or for several. `otherwise` is the rule without a rollout.

    Without a targeting key, only a rollout of 100 % gives its variant.
    """
    default = group[0][1].default
    others = _name(default if otherwise is None else otherwise)
    if isinstance(others, str):
        return [(end, _rest(period.rollout, others, otherwise, has_key)) for end, period in group]
    branches: list[_Branch] = []
    for variant, members in groupby(group, lambda member: _variant(member[1].rollout)):
        run = list(members)
        # The empty name stands for no variant.
        share = _chosen([(end, _rest(period.rollout, "", "", has_key)) for end, period in run])
        if share == "":
            rule = otherwise
        elif share == variant:
            rule = variant
        else:
            rule = {"if": [{"===": [share, variant]}, variant, otherwise]}
        branches.append((run[-1][0], rule))
    return branches


def _rest(rollout: RolloutShare | None, others: str, otherwise: Any, has_key: bool) -> Any:  # noqa: FBT001 - private
    if rollout is None or not rollout.percent or others == rollout.variant:
        return otherwise
    if rollout.percent >= _ALL:
        return rollout.variant
    if not has_key:
        return None if others else ""
    return _split(rollout, others)


def _variant(rollout: RolloutShare | None) -> str | None:
    return None if rollout is None else rollout.variant


def _named(group: _Group, otherwise: Any) -> Any:
    """Return the rests with the name of the default variant in place of null.

    A split without a targeting key gives null. One condition for all of them keeps the rule small.
    """
    default = group[0][1].default
    with_key = _with_default(_changing(group, otherwise), default, splits=False)
    keyless = _with_default(_chosen(_rests(group, otherwise, has_key=False)), default)
    if with_key == keyless:
        return keyless if not isinstance(keyless, dict) else _Named(keyless)
    return _Named({"if": [{"!!": [{"var": "targetingKey"}]}, with_key, keyless]})


def _split(rollout: RolloutShare, others: str) -> dict[str, Any]:
    scale = 10 ** max(0, -int(rollout.percent.normalize().as_tuple().exponent))
    weight = int(rollout.percent * scale)
    return {"fractional": [[rollout.variant, weight], [others, 100 * scale - weight]]}


def _name(otherwise: Any) -> Any:
    """Return the name of the variant that a literal result gives; other results as they are."""
    if isinstance(otherwise, bool):
        return "true" if otherwise else "false"
    return number_text(otherwise) if isinstance(otherwise, int | float) else otherwise


def _filled(rule: Any, rest: _Rest) -> Any:  # noqa: PLR0911 - one for each kind of rule
    """Put a rest in the place of a rule where no condition is met.

    A condition that is a whole rule gives `true` or `false`: the rest is in the place of `false`.
    """
    if not isinstance(rule, dict) or len(rule) != 1:
        return rest(None if rule == {} else rule)
    [(operator, operand)] = rule.items()
    if operator == "fractional":
        return rest(rule)
    if operator == "if":
        operands = operand if isinstance(operand, list) else [operand]
        if len(operands) % 2 == 0:
            return {"if": [*operands, rest(None)]}
        last = _filled(operands[-1], rest)
        return {"if": [*operands[:-1], last]} if len(operands) > 1 else last
    if _is_truth(rule):
        return {"if": [rule, True, rest(False)]}
    if operator in _MAYBE_TRUTHS:
        return {"if": [rule, rule, rest({"if": [{"===": [rule, None]}, None, False]})]}
    return {"if": [{"===": [rule, None]}, rest(None), rule]}


def _is_truth(rule: Any) -> bool:
    """Return whether the results of a rule are `true` and `false`, as those of conditions."""
    if not isinstance(rule, dict) or len(rule) != 1:
        return False
    [(operator, operand)] = rule.items()
    if operator in ("and", "or") and isinstance(operand, list):
        return all(map(_is_truth, operand))
    # With one argument, the result of `flag` is a variant of the other flag.
    is_test_of_flag = operator == "flag" and isinstance(operand, list) and len(operand) > 1
    return is_test_of_flag or operator in _TRUTHS


def _with_default(rule: Any, default: Any, *, splits: bool = True) -> Any:
    """Return the rule with the name of the default variant in place of null.

    Without `splits`, the splits by the targeting key are left as they are.
    """
    if isinstance(rule, _Named):
        return dict(rule)
    if not isinstance(rule, dict) or len(rule) != 1:
        return default if rule is None or rule == {} else rule
    [(operator, operand)] = rule.items()
    if operator == "if" and isinstance(operand, list):
        operands = operand if len(operand) % 2 else [*operand, None]
        last = len(operands) - 1
        return {
            "if": [
                _with_default(part, default, splits=splits) if at % 2 or at == last else part
                for at, part in enumerate(operands)
            ]
        }
    if operator == "fractional" and isinstance(operand, list) and isinstance(operand[0], list):
        buckets = [[_with_default(name, default), *weight] for name, *weight in operand]
        split = {"fractional": buckets}
        return {"if": [{"!!": [{"var": "targetingKey"}]}, split, default]} if splits else split
    if _is_truth(rule):
        return rule
    return {"if": [{"===": [rule, None]}, default, rule]}
