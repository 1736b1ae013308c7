"""A segment as a draft of the flag editor: one rule, whose condition is the segment."""

from collections import defaultdict
from typing import Any

from app.configuration.changes.models import Kind
from app.configuration.changes.views import EntryView
from app.console.flag.conditions import condition_of, draft_condition
from app.console.flag.draft import DraftRule, FieldRules, FlagDraft
from app.console.flag.field_paths import by_field
from app.console.forms import FormErrors
from app.console.json_text import parse_json, pretty
from app.errors import AppError, Invalid, Violation
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import (
    Advanced,
    Condition,
    ConditionGroup,
    SegmentReference,
    Targeting,
)
from app.evaluation.rule_writer import write

CONDITION = "rules.0.condition"


def condition_in(value: Any) -> Condition | Advanced:
    """Return the condition of a segment, or why the editor cannot show it."""
    tree = read(value)
    if isinstance(tree, Advanced):
        return tree
    return tree.shorthand or Advanced("", "is not a condition")


def draft_of_segment(segment: EntryView, *, as_json: bool = False) -> FlagDraft:
    """Return the draft that shows a segment. One that has no form opens as JSON."""
    draft = FlagDraft(
        version=segment.version,
        description=segment.description or "",
        shape="shorthand",
        rules=[DraftRule()],
    )
    condition = condition_in(segment.value)
    if as_json or isinstance(condition, Advanced):
        draft.view, draft.json = "json", pretty(segment.value)
    else:
        draft.rules[0].condition = draft_condition(condition)
    return draft


def new_segment_draft() -> FlagDraft:
    return FlagDraft(shape="shorthand", rules=[DraftRule()])


def segment_of(draft: FlagDraft, base: EntryView | None) -> tuple[EntryView, FieldRules]:
    """Return the segment that a draft describes, and its errors by field."""
    errors: FieldRules = defaultdict(list)
    value: Any = None
    if draft.view == "json":
        try:
            value = parse_json(draft.json, "json")
        except Invalid as error:
            errors["json"] = [violation.rule for violation in error.violations]
    elif not draft.rules:
        errors[CONDITION].append("must be given")
    else:
        value = _written(condition_of(draft.rules[0].condition, CONDITION, errors))
    segment = EntryView(
        kind=Kind.SEGMENT,
        value=value,
        schema=base.schema if base is not None else None,
        description=draft.description or None,
        version=draft.version + 1,
    )
    return segment, errors


def _written(condition: Condition) -> Any:
    if isinstance(condition, SegmentReference):
        # A reference cannot be the whole segment.
        condition = ConditionGroup("and", (condition,))
    return write(Targeting(shorthand=condition))


def errors_by_field(error: AppError, draft: FlagDraft) -> FormErrors:
    """Return the errors of a save beside the parts of the condition that they name."""
    if draft.view == "json":
        return by_field(error, draft)
    moved = [
        Violation(violation.field.replace("value", "value.targeting", 1), violation.rule)
        for violation in error.violations
    ]
    return by_field(Invalid(error.code, error.message, moved), draft)
