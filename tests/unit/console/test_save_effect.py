"""What a save does for a caller: from the rights and the protection, without a page."""

from collections.abc import Collection

import pytest

from app.access.models import Grant, Scope
from app.access.permissions import Rights
from app.configuration.changes.authority import PROPERTIES
from app.console.save_effect import SaveKind, effect_of
from app.environments.models import Environment
from app.environments.protection import Protection
from app.evaluation.ruleset import Rule, Ruleset
from app.settings import Tier
from tests.factories import flag

WRITE, PROPOSE, EITHER, NONE = SaveKind.WRITE, SaveKind.PROPOSE, SaveKind.EITHER, SaveKind.NONE
ALL, OWN, OTHER = "", "payments/", "search/"
Held = dict[Scope, Collection[str]]


def rights(held: Held) -> Rights:
    return Rights(
        Grant(
            scopes=frozenset({scope}),
            environments=frozenset({"production"}),
            prefixes=frozenset(prefixes),
            expires_at=None,
        )
        for scope, prefixes in held.items()
    )


def shown(protected: Collection[str] | None = None) -> Environment:
    protection = None if protected is None else Protection(keys=tuple(filter(None, protected)))
    return Environment(
        name="production",
        tier=Tier.PRODUCTION,
        revision=1,
        epoch="e",
        hash=None,
        protected=False,
        fractional="v3",
        metadata={},
        protection=protection,
    )


@pytest.mark.parametrize(
    ("held", "protected", "keys", "expected"),
    [
        ({}, None, [OWN], NONE),
        ({Scope.READ: [ALL]}, None, None, NONE),
        ({Scope.WRITE: [ALL]}, None, [OWN], WRITE),
        ({Scope.WRITE: [ALL]}, None, None, WRITE),
        ({Scope.WRITE: [OWN]}, None, [OWN, OTHER], NONE),
        ({Scope.PROPOSE: [ALL]}, None, [OWN], PROPOSE),
        ({Scope.PROPOSE: [ALL]}, None, None, PROPOSE),
        ({Scope.PROPOSE: [ALL], Scope.WRITE: [OWN]}, None, [OWN], WRITE),
        ({Scope.PROPOSE: [ALL], Scope.WRITE: [OWN]}, None, [OWN, OTHER], PROPOSE),
        ({Scope.PROPOSE: [ALL], Scope.WRITE: [OWN]}, None, None, EITHER),
        ({Scope.WRITE: [ALL]}, [ALL], [OWN], PROPOSE),
        ({Scope.WRITE: [ALL]}, [ALL], None, PROPOSE),
        ({Scope.WRITE: [ALL]}, [OWN], [OTHER], WRITE),
        ({Scope.WRITE: [ALL]}, [OWN], [OTHER, OWN], PROPOSE),
        ({Scope.WRITE: [ALL]}, [OWN], None, EITHER),
        ({Scope.WRITE: [ALL]}, [OWN], [PROPERTIES], PROPOSE),
        ({Scope.WRITE: [OWN]}, None, [PROPERTIES], NONE),
    ],
)
def test_effect_follows_rights_and_protection(
    held: Held, protected: Collection[str] | None, keys: list[str] | None, expected: SaveKind
) -> None:
    assert effect_of(rights(held), shown(protected), keys).kind is expected


def test_flag_that_a_protected_flag_needs_is_proposed() -> None:
    needs = flag(prerequisites=[{"flag": OTHER + "base", "variant": "on"}], offVariant="off")
    rules = Ruleset(fractional="v3", metadata={}).with_changes(
        [
            Rule(key=OTHER + "base", is_segment=False, value=flag(), state="1"),
            Rule(key=OWN + "limit", is_segment=False, value=needs, state="2"),
        ],
        [],
    )
    writer = rights({Scope.WRITE: [ALL]})

    effects = [effect_of(writer, shown([OWN]), [OTHER + "base"], item) for item in (rules, None)]

    assert [item.kind for item in effects] == [PROPOSE, WRITE]


@pytest.mark.parametrize(
    ("held", "needs_name", "in_emergency", "label"),
    [
        ({Scope.WRITE: [ALL]}, False, False, "Propose to switch on"),
        ({Scope.WRITE: [ALL], Scope.PUBLISH: [ALL]}, False, True, "Propose to switch on"),
        ({Scope.PROPOSE: [ALL], Scope.PUBLISH: [ALL]}, False, False, "Propose to switch on"),
    ],
)
def test_proposal_needs_no_typed_name(
    *, held: Held, needs_name: bool, in_emergency: bool, label: str
) -> None:
    effect = effect_of(rights(held), shown([ALL]), [OWN])

    assert effect.needs_name is needs_name
    assert effect.needs_name_in_emergency is in_emergency
    assert effect.label("Switch on") == label
    assert "Nothing changes in production until it is approved" in effect.hint


def test_write_in_production_needs_the_typed_name() -> None:
    effect = effect_of(rights({Scope.WRITE: [ALL]}), shown(), [OWN])

    assert (effect.needs_name, effect.label("Switch on"), effect.hint) == (True, "Switch on", "")
