"""Change a flag's definition as people think of it: switch off, target, roll out.

Each function returns a new definition. Raises Invalid where the targeting has a form of its own.
"""

from decimal import Decimal
from typing import Any

from msgspec import UNSET

from app.errors import invalid
from app.evaluation.plans.plan import PLAN
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import (
    Advanced,
    Attribute,
    Condition,
    Outcome,
    Targeting,
    TargetingRule,
    VariantShare,
    VariantSplit,
)
from app.evaluation.rule_writer import write

Definition = dict[str, Any]

# Shares of a rollout have at most this many decimal places, in percent.
DECIMALS_MAX = 3


def variant_of(definition: Definition, option: str, *, value: bool) -> str:
    """Return the only variant with this value. For false, the default variant is the fallback.

    Raises Invalid, which asks for the option.
    """
    variants = definition["variants"]
    names: list[str] = [name for name, stored in variants.items() if stored is value]
    if len(names) == 1:
        return names[0]
    default: str | None = definition.get("defaultVariant")
    if default is not None and not value:
        return default
    text = "true" if value else "false"
    rule = f"must be given, because not exactly one of {', '.join(variants)} has the value {text}"
    raise invalid(option, rule)


def serves_all(definition: Definition) -> str | None:
    """Return the variant that every context gets, if there is only one. A plan may change it."""
    if definition["state"] != "ENABLED" or definition.get("targeting") or PLAN in definition:
        return None
    default: str | None = definition.get("defaultVariant")
    return default if _always_gives(definition, default) else None


def _always_gives(definition: Definition, variant: str | None) -> bool:
    """Return whether a prerequisite that does not hold leads to this variant too."""
    return not definition.get("prerequisites") or definition.get("offVariant") in (None, variant)


def serve_all(definition: Definition, variant: str) -> Definition:
    """Serve one variant to every context: the flag stays enabled, and its rules go.

    Prerequisites go too, unless the flag gives this variant in any case.

    A DISABLED flag would give no value: then each program uses the default in its own code.
    """
    _check_variant(definition, variant)
    changed = {**definition, "state": "ENABLED", "defaultVariant": variant}
    changed.pop("targeting", None)
    if not _always_gives(changed, variant):
        del changed["prerequisites"], changed["offVariant"]
    return changed


def with_needs_of(definition: Definition, earlier: Definition) -> Definition:
    """Give the flag the prerequisites of an earlier definition."""
    members = ("prerequisites", "offVariant")
    needs: Definition = {name: earlier[name] for name in members if name in earlier}
    return {**definition, **needs}


def with_targeting_of(definition: Definition, earlier: Definition) -> Definition:
    """Give the flag the targeting, default variant and prerequisites of an earlier definition."""
    definition = with_needs_of(definition, earlier)
    changed = {**definition, "state": "ENABLED", "targeting": earlier["targeting"]}
    changed.pop("defaultVariant", None)
    if "defaultVariant" in earlier:
        changed["defaultVariant"] = earlier["defaultVariant"]
    return changed


def check_not_switched_off(definition: Definition, earlier: Definition | None) -> None:
    """Refuse to edit a flag that was switched off: it would be on again without its rules.

    `earlier` is the latest definition with a targeting. A share alone is no loss. Raises Invalid.
    """
    if serves_all(definition) is None or earlier is None:
        return
    tree = read(earlier["targeting"])
    if isinstance(tree, Advanced) or tree.rules or tree.shorthand is not None:
        rule = "names a flag that is switched off. Run `flag enable` first"
        raise invalid("key", f"{rule}, which restores its rules")


def add_rule(
    definition: Definition, condition: Condition, variant: str, *, first: bool = False
) -> Definition:
    """Add a rule as the last one, or as the first. A rule that is there already stays."""
    _check_variant(definition, variant)
    tree, rule = _tree(definition), TargetingRule(condition, variant)
    if rule in tree.rules:
        return definition
    rules = (rule, *tree.rules) if first else (*tree.rules, rule)
    return _with_tree(definition, rules, tree)


def roll_out(
    definition: Definition,
    variant: str,
    percent: Decimal,
    *,
    others: str,
    attribute: str | None = None,
) -> Definition:
    """Serve a variant to a share of the contexts that no rule matches, and `others` to the rest.

    The share is drawn by the targeting key, or by an attribute. Raises Invalid for a flag with a
    plan, whose percentage would win.
    """
    if PLAN in definition:
        rule = "names a flag with a plan, which sets the share"
        raise invalid("key", f"{rule}. Run `flag plan finish` or `flag plan return` first")
    _check_variant(definition, variant)
    _check_variant(definition, others)
    tree = _tree(definition)
    otherwise = _split(variant, percent, others, attribute)
    return _with_tree(definition, tree.rules, tree, otherwise)


def _split(variant: str, percent: Decimal, others: str, attribute: str | None) -> Outcome:
    if percent.is_nan() or not 0 <= percent <= 100:
        raise invalid("percent", "must be between 0 and 100")
    if percent in (0, 100):
        return variant if percent else others
    if percent != round(percent, DECIMALS_MAX):
        raise invalid("percent", f"must have at most {DECIMALS_MAX} decimal places")
    scale = 10 ** max(0, -int(percent.normalize().as_tuple().exponent))
    weight = int(percent * scale)
    shares = (VariantShare(variant, weight), VariantShare(others, 100 * scale - weight))
    if attribute is None:
        return VariantSplit(shares)
    return VariantSplit(shares, Attribute(attribute), has_flag_key=True)


def _check_variant(definition: Definition, variant: str) -> None:
    if variant not in definition["variants"]:
        names = ", ".join(definition["variants"])
        raise invalid("variant", f"must be one of {names}")


def _tree(definition: Definition) -> Targeting:
    tree = read(definition.get("targeting", {}))
    if isinstance(tree, Advanced):
        rule = f"cannot be edited by this command: {tree.path} {tree.reason}"
        raise invalid("targeting", f"{rule}. Set the whole definition instead")
    if tree.shorthand is not None:
        return Targeting((TargetingRule(tree.shorthand, True),), otherwise=False)
    return tree


def _with_tree(
    definition: Definition,
    rules: tuple[TargetingRule, ...],
    tree: Targeting,
    otherwise: Outcome | Any = UNSET,
) -> Definition:
    rest = tree.otherwise if otherwise is UNSET else otherwise
    if not rules and rest == definition.get("defaultVariant"):
        return {name: value for name, value in definition.items() if name != "targeting"}
    targeting = write(Targeting(rules, rest, is_nested=tree.is_nested and len(rules) > 1))
    return {**definition, "targeting": targeting}
