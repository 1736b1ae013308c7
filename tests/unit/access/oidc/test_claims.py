"""The person of verified claims, also of claims that are missing or have another type."""

from typing import Any

import pytest

from app.access.oidc.claims import identity_of
from app.access.oidc.signatures import TokenError
from app.access.people.models import GROUPS_MAX
from app.access.people.sign_in import PersonIdentity

ISSUER = "https://login.example.com"


def identity(claims: dict[str, Any], groups_claim: str = "groups") -> PersonIdentity:
    return identity_of({"sub": "u-1", **claims}, ISSUER, groups_claim)


def groups(value: Any) -> frozenset[str]:
    return identity({"groups": value}).groups


def test_person_has_name_email_and_groups() -> None:
    claims = {
        "name": " Asha\n Otieno ",
        "preferred_username": "asha",
        "email": "asha@example.org",
        "groups": ["b", "a", "b"],
    }

    person = identity(claims)

    assert (person.issuer, person.subject) == (ISSUER, "u-1")
    assert (person.name, person.email) == ("Asha Otieno", "asha@example.org")
    assert person.groups == {"a", "b"}


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "asha", "email": "a@b.c"}, "asha"),
        ({"name": "", "preferred_username": "asha"}, "asha"),
        ({"name": ["Asha"], "email": "a@b.c"}, ""),
        ({"name": "\n\x00"}, ""),
    ],
)
def test_name_falls_back_to_the_next_claim(claims: dict[str, Any], name: str) -> None:
    assert identity(claims).name == name


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({}, ""),
        ({"email": 1}, ""),
        ({"email": "a@b.c", "email_verified": True}, "a@b.c"),
        ({"email": "a@b.c", "email_verified": False}, ""),
        ({"email": "a@b.c", "email_verified": "true"}, "a@b.c"),
        ({"email": "a@b.c", "email_verified": "false"}, ""),
    ],
)
def test_email_that_is_unusable_is_left_out(claims: dict[str, Any], email: str) -> None:
    assert identity(claims).email == email


def test_long_text_is_cut() -> None:
    """A provider may let people choose texts of any length, and each session stores them."""
    person = identity({"name": "a" * 9_999, "email": f"{'a' * 9_999}@b.c"})

    assert (len(person.name), len(person.email)) == (1_000, 1_000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, set()),
        ([], set()),
        ("", set()),
        ("platform", {"platform"}),
        (["a", "", "é"], {"a", "é"}),
        (["a", "x" * 256, "b\n"], {"a"}),
    ],
)
def test_groups_may_be_a_list_a_text_or_missing(value: Any, expected: set[str]) -> None:
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
    claims = {"_claim_names": {"groups": "src1"}}

    with pytest.raises(TokenError, match="more groups than the provider sends"):
        identity(claims)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("realm_access.roles", {"a"}),
        ("https://example.org/groups", {"b"}),
        ("realm_access.none", set()),
        ("realm_access.roles.0", set()),
        ("sub.x", set()),
    ],
)
def test_claim_with_dots_leads_into_objects(claim: str, expected: set[str]) -> None:
    claims = {
        "realm_access": {"roles": ["a"]},
        "https://example.org/groups": ["b"],
    }

    assert identity(claims, claim).groups == expected
