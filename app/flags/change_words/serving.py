"""Say how a flag serves other variants: by its state, targeting or default variant."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec import UNSET

from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import Advanced, Targeting, TargetingRule, VariantSplit
from app.flags.change_words.rules import describe_rules
from app.flags.change_words.sentences import (
    CHANGED,
    NOW,
    SWITCHED,
    WAS,
    WERE,
    Part,
    Sentence,
    name,
    names,
    sentence,
)
from app.flags.change_words.splits import Defaults
from app.flags.change_words.values import describe_value, differences
from app.flags.wording import variant_text
from app.names import counted

_PATHS_MAX = 4


@dataclass(frozen=True)
class _Serving:
    """The members of a definition that decide what it serves. Any JSON is accepted."""

    definition: Mapping[str, Any]

    @property
    def state(self) -> Any:
        return self.definition.get("state", UNSET)

    @property
    def default(self) -> Any:
        return self.definition.get("defaultVariant", UNSET)

    @property
    def targeting(self) -> Any:
        return self.definition.get("targeting", UNSET)

    @property
    def variants(self) -> Mapping[str, Any]:
        variants = self.definition.get("variants")
        return variants if isinstance(variants, dict) else {}

    @cached_property
    def tree(self) -> Targeting | Advanced:
        """The rules. A shorthand is a rule that serves true, and false to the others."""
        tree = read((self.targeting if self.targeting is not UNSET else None) or {})
        if isinstance(tree, Advanced) or tree.shorthand is None:
            return tree
        return Targeting((TargetingRule(tree.shorthand, True),), otherwise=False)

    @property
    def to_all(self) -> str | None:
        """The variant that every context gets, if there is only one."""
        tree = self.tree
        if isinstance(tree, Advanced) or tree.rules or isinstance(tree.otherwise, VariantSplit):
            return None
        served = variant_text(
            None if tree.otherwise is UNSET else tree.otherwise, self.default or None
        )
        has_needs = bool(self.definition.get("prerequisites"))
        return (
            None
            if has_needs and self.definition.get("offVariant") not in (None, served)
            else served
        )

    @property
    def is_off(self) -> bool:
        return self.to_all is not None and self.variants.get(self.to_all) is False


def describe_serving(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Sentence]:
    old, new = _Serving(before), _Serving(after)
    yield from _describe_state(old, new)
    summary = _switch_text(old, new) if old.state == new.state == "ENABLED" else None
    if summary is not None:
        yield summary
    if summary is None or new.to_all is None:
        yield from _describe_targeting(old, new, is_worded=summary is not None)
    if summary is None or new.targeting:
        yield from _describe_default(old, new)


def _describe_state(old: _Serving, new: _Serving) -> Iterator[Sentence]:
    if new.state == "DISABLED" != old.state:
        was_off = old.state == "ENABLED" and old.is_off
        switched = ("The flag ", WAS, " disabled") if was_off else (SWITCHED, " off")
        yield sentence(*switched, ": each program uses the default in its own code")
    elif (old.state, new.state) == ("DISABLED", "ENABLED"):
        yield _enabled_text(new)
    else:
        yield from describe_value(("State",), old.state, new.state)


def _enabled_text(new: _Serving) -> Sentence:
    """Return the sentence of a disabled flag that is enabled. It may serve off to all."""
    served = new.to_all
    if served is None:
        return sentence(SWITCHED, " on")
    is_on = new.variants.get(served) is True
    enabled = (SWITCHED, " on") if is_on else ("The flag ", WAS, " enabled")
    return sentence(*enabled, ": ", name(served), " is served to all")


def _switch_text(old: _Serving, new: _Serving) -> Sentence | None:
    """Return the sentence of a switch, or of one variant for all in place of rules."""
    served = new.to_all
    if served == old.to_all:
        return None
    if served is None:
        return sentence(SWITCHED, " on") if old.is_off else None
    if new.is_off:
        return sentence(SWITCHED, " off: ", name(served), " is served to all")
    if old.is_off and new.variants.get(served) is True:
        return sentence(SWITCHED, " on: ", name(served), " is served to all")
    if isinstance(old.tree, Targeting) and not old.tree.rules:
        return None
    return sentence(name(served), " is ", NOW, "served to all", *_removal_text(old.tree))


def _removal_text(tree: Targeting | Advanced) -> tuple[Part, ...]:
    if isinstance(tree, Advanced):
        return "; the targeting ", WAS, " removed"
    count = len(tree.rules)
    return (f"; {counted(count, 'rule')} ", WAS if count == 1 else WERE, " removed")


def _describe_targeting(old: _Serving, new: _Serving, *, is_worded: bool) -> Iterator[Sentence]:
    if isinstance(old.tree, Advanced) or isinstance(new.tree, Advanced):
        yield from _describe_advanced(old, new)
        return
    on = {variant for variant, value in new.variants.items() if value is True}
    defaults = Defaults(before=old.default or None, after=new.default or None, on=on)
    described = list(describe_rules(old.tree, new.tree, defaults))
    yield from described
    if not described and not is_worded and _differ(old.targeting, new.targeting):
        yield sentence("Targeting has another form; its words are the same")


def _describe_advanced(old: _Serving, new: _Serving) -> Iterator[Sentence]:
    if not old.targeting:
        yield sentence("Targeting ", WAS, " added; it has no short form")
    elif not new.targeting:
        yield sentence("Targeting ", WAS, " removed")
    else:
        yield from describe_paths(("Targeting ", CHANGED, " at "), old.targeting, new.targeting)


def describe_paths(start: tuple[Part, ...], before: Any, after: Any) -> Iterator[Sentence]:
    """Yield one sentence with the first paths at which two values differ, if they do."""
    paths = [difference.path or "its root" for difference in differences(before, after)]
    if paths:
        more = len(paths) - _PATHS_MAX
        rest = f" and {more:,} more" if more > 0 else ""
        yield sentence(*start, *names(paths[:_PATHS_MAX]), rest)


def _describe_default(old: _Serving, new: _Serving) -> Iterator[Sentence]:
    if isinstance(old.default, str) and isinstance(new.default, str):
        if old.default != new.default:
            yield sentence(
                "Default ", CHANGED, " from ", name(old.default), " to ", name(new.default)
            )
    else:
        yield from describe_value(("Default",), old.default, new.default)


def _differ(before: Any, after: Any) -> bool:
    return next(differences(before, after), None) is not None
