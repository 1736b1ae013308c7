"""The permission check: the union of grants by scope, environment and prefix."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.models import Grant, Scope
from app.access.permissions import ALL_KEYS, NO_KEYS, Keys, Rights, allowed

_SCOPES = st.frozensets(st.sampled_from([Scope.READ, Scope.WRITE, Scope.EVALUATE]))
_ENVIRONMENTS = st.frozensets(st.sampled_from(["*", "local", "dev", "production"]))
_PREFIXES = st.frozensets(st.sampled_from(["", "a", "a/", "a/b", "b/", "bb"]))
_GRANTS = st.lists(
    st.builds(
        Grant,
        scopes=_SCOPES,
        environments=_ENVIRONMENTS,
        prefixes=_PREFIXES,
        expires_at=st.none(),
    ),
    max_size=5,
)
_KEYS = st.sampled_from(["a", "a/", "a/b", "a/c", "ab", "b", "b/x", "bb", "c"])


@given(_GRANTS, st.sampled_from(Scope), st.sampled_from(["local", "dev", "unknown"]), _KEYS)
def test_right_is_held_by_any_grant(
    grants: list[Grant], scope: Scope, environment: str, key: str
) -> None:
    including = {scope, Scope.WRITE} if scope is Scope.PROPOSE else {scope}
    expected = any(
        not grant.scopes.isdisjoint(including)
        and not grant.environments.isdisjoint({"*", environment})
        and any(key.startswith(prefix) for prefix in grant.prefixes)
        for grant in grants
    )
    principal = SimpleNamespace(rights=Rights(grants))
    assert allowed(principal, scope, environment, key) is expected


@given(st.lists(st.sampled_from(["", "a", "a/", "a/b", "b/", "bb"])), _KEYS)
def test_keys_below_prefixes_are_minimal(prefixes: list[str], key: str) -> None:
    keys = Keys.below(prefixes)
    assert (key in keys) is any(key.startswith(prefix) for prefix in prefixes)
    assert not [a for a in keys.prefixes for b in keys.prefixes if a != b and a.startswith(b)]


@given(st.lists(_KEYS), st.lists(_KEYS), _KEYS)
def test_keys_combine_as_sets(first: list[str], second: list[str], key: str) -> None:
    one, two = Keys.below(first), Keys.below(second)
    assert (key in (one & two)) is (key in one and key in two)
    assert (key in (one | two)) is (key in one or key in two)
    assert one.includes(one & two)
    assert (one | two).includes(two)


def test_environments_of_all_keys_exclude_limited_grants() -> None:
    whole = Grant(scopes=frozenset({Scope.READ}), environments=frozenset({"dev"}), expires_at=None)
    part = Grant(
        scopes=frozenset({Scope.READ}),
        environments=frozenset({"*"}),
        prefixes=frozenset({"a/"}),
        expires_at=None,
    )
    rights = Rights([whole, part])
    assert rights.environments(Scope.READ) == {"*", "dev"}
    assert rights.environments(Scope.READ, all_keys=True) == {"dev"}
    assert rights.keys(Scope.READ, "dev") == ALL_KEYS
    assert rights.keys(Scope.READ, "production") == Keys(("a/",))
    assert rights.keys(Scope.WRITE, "dev") == NO_KEYS


@pytest.mark.parametrize("scope", Scope)
def test_principal_without_grants_may_do_nothing(scope: Scope) -> None:
    rights = Rights([])
    assert not rights.has(scope)
    assert not rights.covers(scope, "dev")
    assert rights.environments(scope) == frozenset()


@pytest.mark.parametrize("scope", Scope)
def test_write_alone_includes_another_scope(scope: Scope) -> None:
    held = Grant(
        scopes=frozenset({scope}),
        environments=frozenset({"dev"}),
        prefixes=frozenset({"a/"}),
        expires_at=None,
    )
    rights = Rights([held])
    expected = {scope, Scope.PROPOSE} if scope is Scope.WRITE else {scope}
    assert {other for other in Scope if rights.has(other)} == expected
    assert all(rights.keys(other, "dev") == Keys(("a/",)) for other in expected)
    assert rights.grants == (held,)


@given(st.sets(st.text("ab/", min_size=1, max_size=5), min_size=17), st.text("ab/", max_size=6))
def test_many_prefixes_contain_the_same_keys_as_each(prefixes: set[str], key: str) -> None:
    keys = Keys.below(prefixes)

    assert (key in keys) is any(key.startswith(prefix) for prefix in prefixes)
