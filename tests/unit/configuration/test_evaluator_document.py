"""The document of `flags.json`: flagd's evaluator can always load it."""

from typing import Any

import msgspec
import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from app.configuration.changes.models import Content, Kind
from app.configuration.transfer.evaluator_document import COPIED_BYTES_MAX, evaluator_document
from app.environments.models import Environment
from tests.factories import flag

ENVIRONMENT = Environment(
    name="local",
    tier="local",
    revision=7,
    epoch="e",
    hash=None,
    protected=False,
    fractional="v3",
    metadata={},
)
RULE = {"if": [{"$ref": "staff"}, "on", "off"]}


def document(flags: dict[str, Any], segments: dict[str, Any] | None = None) -> dict[str, Any]:
    entries = {key: Content(kind=Kind.FLAG, value=value) for key, value in flags.items()}
    entries |= {k: Content(kind=Kind.SEGMENT, value=rule) for k, rule in (segments or {}).items()}
    return evaluator_document(ENVIRONMENT, entries).document


def switched(**members: Any) -> dict[str, Any]:
    return flag(**{"defaultVariant": "on", **members})


def loaded(written: dict[str, Any]) -> FlagdCore:
    core = FlagdCore()
    core.set_flags(msgspec.json.encode(written).decode())
    return core


def is_on(core: FlagdCore, key: str, **attributes: Any) -> bool:
    details = core.resolve_boolean_value(key, False, EvaluationContext("u1", attributes))
    return bool(details.value)


@pytest.mark.parametrize(
    "members",
    [
        {"guards": [{"context": {}, "variant": "on"}]},
        {"description": "why", "$comment": 1, "source": "a", "owner": {"team": "x"}},
        {"metadata": {"": 1, "team": "x"}},
    ],
)
def test_evaluator_document_omits_members_unknown_to_flagd(members: dict[str, Any]) -> None:
    written = document({"other": switched(**members)})

    assert is_on(loaded(written), "other")
    assert written["flags"]["other"].keys() <= switched().keys() | {"metadata"}
    assert "" not in written["flags"]["other"].get("metadata", {})


@pytest.mark.parametrize(
    "broken",
    [
        1,
        switched(state="ON"),
        switched(state=["ENABLED"]),
        switched(variants={}),
        switched(variants=["on"]),
        switched(defaultVariant="missing"),
        switched(defaultVariant=1),
        switched(metadata={"a": None}),
        switched(metadata=[]),
    ],
)
def test_evaluator_document_omits_flag_that_cannot_load(broken: Any) -> None:
    written = document({"broken": broken, "other": switched()})

    assert is_on(loaded(written), "other")
    assert written["flags"].keys() == {"other"}


@pytest.mark.parametrize(
    ("segments", "email", "expected"),
    [
        (
            {
                # Both orders of names, since evaluators replace references one after the other.
                "staff": {"or": [{"$ref": "admins"}, {"$ref": "testers"}]},
                "admins": {"==": [{"var": "email"}, "a"]},
                "testers": {"==": [{"var": "email"}, "t"]},
            },
            "t",
            True,
        ),
        ({"staff": {"==": [{"var": "email"}, "zoë"]}}, "zoë", True),
        ({"staff": {"==": [{"var": "email"}, 'a\\b"c\n']}}, 'a\\b"c\n', True),
        (
            {"staff": {"!": {"$ref": "zoe"}}, "zoe": {"==": [{"var": "email"}, "zoë"]}},
            "zoë",
            False,
        ),
    ],
)
def test_segment_of_segments_or_escapes_is_evaluated_by_flagd(
    segments: dict[str, Any], *, email: str, expected: bool
) -> None:
    written = document({"other": switched(targeting=RULE)}, segments)

    assert is_on(loaded(written), "other", email=email) is expected
    assert is_on(loaded(written), "other", email="else") is not expected


@pytest.mark.parametrize(
    "segments",
    [
        {},
        {"staff": {"!": {"$ref": "staff"}}},
        {"staff": {"in": ["é", {"$ref": "b"}]}, "b": {"in": ["é", {"$ref": "staff"}]}},
        {"staff": {"and": [{"$ref": "missing"}]}},
    ],
)
def test_flag_with_unresolved_segment_fails_alone(segments: dict[str, Any]) -> None:
    written = document({"broken": switched(targeting=RULE), "other": switched()}, segments)

    assert is_on(loaded(written), "other")


def test_copies_of_segments_have_a_limit_together() -> None:
    doubling = {"s0": {"in": [{"var": "x"}, ["é" * 100_000]]}}
    doubling |= {f"s{n}": {"or": [{"$ref": f"s{n - 1}"}] * 2} for n in range(1, 40)}

    written = document({"other": switched(targeting={"!": {"$ref": "s39"}})}, doubling)

    assert len(msgspec.json.encode(written)) < 2 * COPIED_BYTES_MAX


def test_deep_segments_are_no_recursion_error() -> None:
    deep = {f"s{n:03}": {"!": {"$ref": f"s{n + 1:03}"}} for n in range(500)}

    assert document({}, deep)["$evaluators"].keys() == deep.keys()
