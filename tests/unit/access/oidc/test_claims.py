"""The person of verified claims, also of claims that are missing or have another type."""

from typing import Any

import pytest

from app.access.oidc.claims import person_of
from app.access.oidc.signatures import TokenError
from app.access.people.models import GROUPS_MAX


def groups(value: Any, claim: str = "groups") -> tuple[str, ...]:
    return person_of({"sub": "u-1", "groups": value}, claim).groups


def test_person_has_name_email_and_groups() -> None:
    claims = {
        "sub": "u-1",
        "name": " Asha\n Otieno ",
        "preferred_username": "asha",
        "email": "asha@example.org",
        "groups": ["b", "a", "b"],
    }

    person = person_of(claims, "groups")

    assert (person.subject, person.name) == ("u-1", "Asha Otieno")
    assert (person.email, person.groups) == ("asha@example.org", ("a", "b"))


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "asha", "email": "a@b.c"}, "asha"),
        ({"name": "", "email": "a@b.c"}, "a@b.c"),
        ({"name": ["Asha"]}, "u-1"),
        ({"name": "\n\x00"}, "u-1"),
        ({"name": "x" * 1_000}, "x" * 200),
    ],
)
def test_name_falls_back_to_the_next_claim(claims: dict[str, Any], name: str) -> None:
    assert person_of({"sub": "u-1", **claims}, "groups").name == name


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({}, ""),
        ({"email": 1}, ""),
        ({"email": "a@b.c", "email_verified": True}, "a@b.c"),
        ({"email": "a@b.c", "email_verified": False}, ""),
        ({"email": "a@b.c", "email_verified": "true"}, "a@b.c"),
        ({"email": "a@b.c", "email_verified": "false"}, ""),
        ({"email": "a" * 255}, ""),
    ],
)
def test_email_that_is_unusable_is_left_out(claims: dict[str, Any], email: str) -> None:
    assert person_of({"sub": "u-1", **claims}, "groups").email == email


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ([], ()),
        ("", ()),
        ("platform", ("platform",)),
        (["a", "", "é"], ("a", "é")),
        (["a", "x" * 256, "b\n"], ("a",)),
    ],
)
def test_groups_may_be_a_list_a_text_or_missing(value: Any, expected: tuple[str, ...]) -> None:
    assert groups(value) == expected


@pytest.mark.parametrize("value", [1, True, {"a": 1}, ["a", 1], [["a"]], [None]])
def test_groups_of_another_type_are_refused(value: Any) -> None:
    with pytest.raises(TokenError, match="OIDC_GROUPS_CLAIM"):
        groups(value)


def test_too_many_groups_are_refused_in_words() -> None:
    assert len(groups([str(n) for n in range(GROUPS_MAX)])) == GROUPS_MAX
    with pytest.raises(TokenError, match="you have 5000 groups, and at most 1000"):
        groups([str(n) for n in range(5_000)])


def test_groups_that_the_provider_offers_elsewhere_are_refused() -> None:
    claims = {"sub": "u-1", "_claim_names": {"groups": "src1"}}

    with pytest.raises(TokenError, match="more groups than the provider sends"):
        person_of(claims, "groups")


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("realm_access.roles", ("a",)),
        ("https://example.org/groups", ("b",)),
        ("realm_access.none", ()),
        ("realm_access.roles.0", ()),
        ("sub.x", ()),
    ],
)
def test_claim_with_dots_leads_into_objects(claim: str, expected: tuple[str, ...]) -> None:
    claims = {
        "sub": "u-1",
        "realm_access": {"roles": ["a"]},
        "https://example.org/groups": ["b"],
    }

    assert person_of(claims, claim).groups == expected
