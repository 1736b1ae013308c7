"""Segments as drafts, drafts as fields of a form, and both back without a loss."""

from typing import Any

from hypothesis import assume, given

from app.configuration.changes.json_patch import are_equal
from app.configuration.changes.views import EntryView
from app.console.flag.forms import parse
from app.console.segments.drafts import draft_of_segment, segment_of
from app.evaluation.rule_tree import SegmentReference, Targeting
from app.evaluation.rule_writer import write
from tests.unit.console.form_fields import fields_of
from tests.unit.console.test_flag_forms import is_storable
from tests.unit.evaluation.test_rule_tree import CONDITIONS


def _segment(value: Any) -> EntryView:
    return EntryView(kind="segment", value=value, schema=None, description="text", version=3)


@given(CONDITIONS)
def test_segment_returns_from_its_form_unchanged(condition: Any) -> None:
    # A reference cannot be the whole segment.
    assume(not isinstance(condition, SegmentReference))
    value = write(Targeting(shorthand=condition))
    assume(is_storable(value))
    base = _segment(value)

    draft = parse(fields_of(draft_of_segment(base)))
    segment, errors = segment_of(draft, base)

    assert not errors
    assert are_equal(segment.value, value)
    assert segment.description == "text"


@given(CONDITIONS)
def test_segment_returns_from_json_unchanged(condition: Any) -> None:
    value = write(Targeting(shorthand=condition))
    assume(is_storable(value))

    draft = parse(fields_of(draft_of_segment(_segment(value), as_json=True)))
    segment, errors = segment_of(draft, _segment(value))

    assert not errors
    assert are_equal(segment.value, value)
