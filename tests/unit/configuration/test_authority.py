"""The rights of an author: which keys they write, propose, or neither."""

import pytest

from app.access.models import Grant, Scope
from app.access.permissions import Rights
from app.configuration.changes.authority import (
    PROPERTIES,
    Authority,
    check_author,
    require_keys,
)
from app.errors import Forbidden


def rights(*grants: tuple[str, tuple[Scope, ...]], environment: str = "*") -> Rights:
    """Return rights of prefixes with their scopes."""
    return Rights(
        [
            Grant(
                scopes=frozenset(scopes),
                environments=frozenset({environment}),
                prefixes=frozenset({prefix}),
                expires_at=None,
            )
            for prefix, scopes in grants
        ]
    )


AUTHOR = rights(("a/", (Scope.WRITE,)), ("b/", (Scope.PROPOSE,)), ("c/", (Scope.READ,)))


def check(*keys: str, author: Rights = AUTHOR) -> list[str]:
    return check_author(Authority(rights=author), "local", keys)


def test_author_writes_own_keys_and_proposes_others() -> None:
    assert check("a/1", "a/2") == []
    assert check("a/1", "b/2", "b/3") == ["b/2", "b/3"]


@pytest.mark.parametrize(
    ("keys", "shown", "names"),
    [
        (("c/1", "a/1"), "c/1", ["c/1"]),
        (("c/1", "d/1"), "c/1 and others", ["c/1"]),
        (("d/1",), "every key of this request", []),
        (("a/1", PROPERTIES), "properties", ["properties"]),
        # An entry of this name is no way to the properties of the environment.
        (("properties",), "every key of this request", []),
    ],
)
def test_refusal_names_readable_keys_alone(
    keys: tuple[str, ...], shown: str, names: list[str]
) -> None:
    with pytest.raises(Forbidden) as refused:
        check(*keys)

    assert refused.value.code == "key_foreign"
    assert refused.value.message == (
        f"Your rights in local do not cover {shown}. You have the scope write or propose for keys "
        "with the prefix a/ or b/ alone. An administrator can give it, or an owner of the project "
        "of the key."
    )
    assert [violation.field for violation in refused.value.violations] == names


def test_refusal_does_not_name_an_unknown_environment() -> None:
    with pytest.raises(Forbidden) as refused:
        check("a/1", author=rights(("", (Scope.WRITE, Scope.READ)), environment="other"))

    assert refused.value.code == "environment_foreign"
    assert "local" not in refused.value.message


def test_rights_for_all_keys_include_properties() -> None:
    assert check("x", PROPERTIES, author=rights(("", (Scope.WRITE,)))) == []
    assert check("x", PROPERTIES, author=rights(("", (Scope.PROPOSE,)))) == ["x", PROPERTIES]


def test_scope_of_a_proposal_is_required_for_each_key() -> None:
    with pytest.raises(Forbidden):
        require_keys(AUTHOR, Scope.PROPOSE, "local", ["a/1", "c/1"])
    require_keys(AUTHOR, Scope.PROPOSE, "local", ["a/1", "b/1"])
