"""The guard's check of rights, for paths with and without an environment and a key."""

from collections.abc import Sequence

import pytest
from aiohttp.test_utils import make_mocked_request

from app.access.caller import Caller
from app.access.guard import permit
from app.access.models import Grant, Scope
from app.access.permissions import Rights
from app.errors import Forbidden

READ, WRITE = Scope.READ, Scope.WRITE


def grant(*scopes: Scope, environment: str = "*", prefix: str = "") -> Grant:
    return Grant(
        scopes=frozenset(scopes),
        environments=frozenset({environment}),
        prefixes=frozenset({prefix}),
        expires_at=None,
    )


def refusal(
    grants: Sequence[Grant],
    path: dict[str, str],
    scopes: Sequence[Scope] = (READ,),
    *,
    by_key: bool = True,
) -> str | None:
    """Return the code of the guard's refusal, or None."""
    request = make_mocked_request("GET", "/", match_info=path)
    try:
        permit(request, Caller(rights=Rights(grants)), scopes, by_key=by_key)
    except Forbidden as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("held", "path", "by_key", "expected"),
    [
        (grant(READ), {}, False, None),
        (grant(READ), {"environment": "local", "key": "a"}, False, None),
        (grant(WRITE), {}, True, "scope_missing"),
        (grant(READ, environment="local"), {"environment": "local"}, False, None),
        (grant(READ, environment="local"), {"environment": "prod"}, True, "environment_foreign"),
        (grant(READ, prefix="shop/"), {}, False, "all_keys_needed"),
        (grant(READ, prefix="shop/"), {}, True, None),
        (grant(READ, prefix="shop/"), {"key": "other"}, True, None),
        (grant(READ, prefix="shop/"), {"environment": "local"}, False, "all_keys_needed"),
        (grant(READ, prefix="shop/"), {"environment": "local"}, True, None),
        (
            grant(READ, prefix="shop/"),
            {"environment": "local", "key": "shop/a"},
            False,
            "all_keys_needed",
        ),
        (grant(READ, prefix="shop/"), {"environment": "local", "key": "shop/a"}, True, None),
        (grant(READ, prefix="shop/"), {"environment": "local", "key": "shop"}, True, "key_foreign"),
        (
            grant(READ, prefix="shop/", environment="local"),
            {"environment": "prod", "key": "shop/a"},
            True,
            "environment_foreign",
        ),
    ],
)
def test_grant_in_a_path_is_checked(
    held: Grant, path: dict[str, str], *, by_key: bool, expected: str | None
) -> None:
    assert refusal([held], path, by_key=by_key) == expected


def test_every_scope_must_hold_for_the_key() -> None:
    held = [grant(READ), grant(WRITE, prefix="shop/")]
    own = {"environment": "local", "key": "shop/a"}
    foreign = {"environment": "local", "key": "pay/a"}

    assert refusal(held, own, (WRITE, READ)) is None
    assert refusal(held, foreign, (WRITE, READ)) == "key_foreign"
    assert refusal(held, foreign, (READ,)) is None


def test_scopes_of_different_grants_are_not_mixed() -> None:
    held = [grant(READ, environment="local"), grant(WRITE, environment="prod")]

    assert refusal(held, {"environment": "local"}, (WRITE,)) == "environment_foreign"
    assert refusal(held, {"environment": "prod"}, (READ,)) == "environment_foreign"
    assert refusal(held, {}, (READ, WRITE), by_key=False) is None


def test_path_without_environment_needs_one_with_all_keys() -> None:
    limited = grant(READ, environment="prod", prefix="shop/")

    assert refusal([limited, grant(READ, environment="local")], {}, by_key=False) is None
    assert refusal([limited], {}, by_key=False) == "all_keys_needed"
