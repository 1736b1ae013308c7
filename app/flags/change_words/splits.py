"""Say how the outcome of a rule changed: another variant, or other shares of a split."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from app.evaluation.rule_tree import Outcome, VariantSplit
from app.flags.change_words.sentences import CHANGED, NOW, Part, Sentence, name, sentence
from app.flags.wording import percent_text, total_parts, variant_text

_SHOWN_MAX = 4
_TARGETING_KEY = "targetingKey"


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Who gets an outcome: "Rule 2 serves", "in rule 2"."""

    gets: tuple[Part, ...]
    where: str


EVERYONE = Recipient(gets=("Everyone ", NOW, "gets "), where="")
EVERYONE_ELSE = Recipient(gets=("Everyone else ", NOW, "gets "), where=" for everyone else")


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """The default variant before and after, and the variants with the value true."""

    before: Any
    after: Any
    on: Collection[str] = ()


def describe_outcome(
    recipient: Recipient, before: Outcome, after: Outcome, defaults: Defaults
) -> Iterator[Sentence]:
    """Yield sentences if the outcomes differ in words."""
    if not isinstance(before, VariantSplit) and not isinstance(after, VariantSplit):
        old, new = variant_text(before, defaults.before), variant_text(after, defaults.after)
        if old != new:
            yield sentence(*recipient.gets, name(new), " instead of ", name(old))
        return
    yield from _describe_shares(recipient, before, after, defaults)
    if isinstance(before, VariantSplit) and isinstance(after, VariantSplit):
        yield from _describe_draw(recipient, before, after)


def _describe_shares(
    recipient: Recipient, before: Outcome, after: Outcome, defaults: Defaults
) -> Iterator[Sentence]:
    old, new = _shares(before, defaults.before), _shares(after, defaults.after)
    changed = [variant for variant in old | new if old.get(variant, 0) != new.get(variant, 0)]
    if not changed:
        return
    by = _by(before, after)
    if len(old | new) <= 2:
        variant = _rolled_out(changed, defaults)
        texts = _change_text(old, new, variant)
        yield sentence(
            "Rollout of ", name(variant), f"{recipient.where} ", CHANGED, " ", texts, *by
        )
        return
    parts: list[Part] = []
    for variant in changed[:_SHOWN_MAX]:
        separator = ", " if parts else ""
        parts += [separator, name(variant), " ", _change_text(old, new, variant)]
    more = len(changed) - _SHOWN_MAX
    rest = f", and {more} more" if more > 0 else ""
    yield sentence(f"Split{recipient.where} ", CHANGED, ": ", *parts, rest, *by)


def _describe_draw(
    recipient: Recipient, before: VariantSplit, after: VariantSplit
) -> Iterator[Sentence]:
    """Say when other contexts get a variant although its share is the same."""
    old, new = _attribute_name(before), _attribute_name(after)
    if old != new:
        yield sentence(
            f"Split{recipient.where} is ", NOW, "by ", name(new), " instead of ", name(old)
        )
    elif before.attribute is not None and before.has_flag_key != after.has_flag_key:
        now: tuple[Part, ...] = (NOW, "also") if after.has_flag_key else ("no longer",)
        yield sentence(f"Split{recipient.where} ", *now, " depends on the key of the flag")
    orders = [[share.variant for share in split.shares] for split in (before, after)]
    if orders[0] != orders[1] and sorted(map(str, orders[0])) == sorted(map(str, orders[1])):
        yield sentence(
            f"Order of the split{recipient.where} ", CHANGED, "; keys may get another variant"
        )


def _shares(outcome: Outcome, default: Any) -> dict[str, Fraction]:
    """Return the share of each variant. Without any weight every share is 0."""
    if not isinstance(outcome, VariantSplit):
        return {variant_text(outcome, default): Fraction(1)}
    total = total_parts(outcome) or 1
    shares: defaultdict[str, Fraction] = defaultdict(Fraction)
    for share in outcome.shares:
        shares[variant_text(share.variant, default)] += Fraction(max(0, share.parts), total)
    return shares


def _rolled_out(variants: list[str], defaults: Defaults) -> str:
    """Return the variant that a rollout is about: with the value true, or not the default."""
    preferred = [variant for variant in variants if variant in defaults.on]
    others = [variant for variant in variants if variant != defaults.after]
    return (preferred or others or variants)[0]


def _change_text(old: dict[str, Fraction], new: dict[str, Fraction], variant: str) -> str:
    texts = [percent_text(shares.get(variant, Fraction())) for shares in (old, new)]
    return f"from {texts[0]} to {texts[1]}"


def _by(before: Outcome, after: Outcome) -> tuple[Part, ...]:
    """Say by which attribute a new split is drawn, if not by the targeting key."""
    if isinstance(before, VariantSplit) or not isinstance(after, VariantSplit):
        return ()
    return () if after.attribute is None else (", by ", name(after.attribute.name))


def _attribute_name(split: VariantSplit) -> str:
    return _TARGETING_KEY if split.attribute is None else split.attribute.name
