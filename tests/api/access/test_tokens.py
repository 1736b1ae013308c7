"""Tokens over HTTP: create, list, rotate and revoke, only within the grant of the caller."""

import asyncio
import json
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from aiohttp import ClientResponse

from app.access.directory import TokenDirectory
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.last_used import TOKEN_USE, TokenUse
from app.access.models import Scope
from app.database import Database
from app.http.keys import DATABASE
from app.settings import Settings
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS

PATH = "/v1/tokens"
READER = {"name": "reader", "scopes": ["read"], "environments": ["local"]}


async def make(service: Service, **members: Any) -> dict[str, Any]:
    """Create a token as the administrator of all environments."""
    answer = await service.client.post(PATH, json=READER | members)
    assert answer.status == 201, await answer.text()
    issued: dict[str, Any] = await answer.json()
    return issued


async def status_of(service: Service, text: str) -> int:
    headers = {"X-API-Key": text}
    return (await service.stranger.get("/v1/environments/local", headers=headers)).status


async def problem(answer: ClientResponse, status: int) -> dict[str, Any]:
    content: dict[str, Any] = await answer.json(content_type=None)
    assert answer.status == status, content
    return content


async def test_new_token_works_at_once_and_its_text_is_shown_once(service: Service) -> None:
    answer = await service.client.post(PATH, json=READER)
    issued = await answer.json()
    token = issued["token"]

    assert answer.status == 201
    assert answer.headers["Location"] == f"{PATH}/{token['id']}"
    assert await status_of(service, issued["text"]) == 200
    assert (token["name"], token["scopes"], token["environments"]) == (
        "reader",
        ["read"],
        ["local"],
    )
    assert token["created_by"] == f"token:{service.admin_token.split('_')[2]}"
    assert (token["expires_at"], token["revoked_at"], token["remarks"]) == (None, None, [])
    shown = await (await service.client.get(f"{PATH}/{token['id']}")).text()
    listed = await (await service.client.get(PATH)).text()
    secret = issued["text"].split("_")[3]
    assert json.loads(shown) == token
    assert token in json.loads(listed)["items"]
    assert secret not in shown + listed
    assert "mac" not in token


async def test_token_list_has_pages(service: Service) -> None:
    created = {(await make(service, name=f"n{number}"))["token"]["id"] for number in range(5)}
    admin = service.admin_token.split("_")[2]
    listed: list[str] = []
    after: str | None = ""

    while after is not None:
        page = await (await service.client.get(PATH, params={"limit": 2, "after": after})).json()
        assert len(page["items"]) <= 2
        listed += [token["id"] for token in page["items"]]
        after = page["next"]

    assert listed == sorted(created | {admin})


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"environments": []}, "environments"),
        ({"environments": ["nowhere"]}, "environments"),
        ({"environments": ["*", "local"]}, "environments"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_days": 0}, "expires_days"),
        ({"expires_days": 36_501}, "expires_days"),
        ({"expires_days": 1, "expires_at": "2030-01-01T00:00:00Z"}, "expires_days"),
        ({"scopes": ["admin"], "expires_days": 366}, "expires_days"),
        ({"scopes": ["admin"], "expires_at": "2030-01-01T00:00:00Z"}, "expires_at"),
        ({"mac": "x"}, ""),
        ({"prefixes": []}, "prefixes"),
        ({"prefixes": "shop/"}, "prefixes"),
        ({"prefixes": [None]}, "prefixes"),
        ({"prefixes": ["/shop"]}, "prefixes"),
        ({"prefixes": ["", "sh op"]}, "prefixes"),
        ({"prefixes": ["sh\nop"]}, "prefixes"),
        ({"prefixes": ["é"]}, "prefixes"),
        ({"prefixes": ["a" * 256]}, "prefixes"),
        ({"prefixes": [f"p{n}" for n in range(101)]}, "prefixes"),
        ({"scopes": ["relay"], "prefixes": ["shop/"]}, "prefixes"),
    ],
)
async def test_invalid_field_is_named_and_makes_no_token(
    service: Service, members: dict[str, Any], field: str
) -> None:
    answer = await service.client.post(PATH, json=READER | members)

    refusal = await problem(answer, 422)
    assert field in refusal["errors"][0]["field"]
    assert len((await (await service.client.get(PATH)).json())["items"]) == 1


async def test_token_expiry_is_bounded_for_administrators(
    service: Service,
) -> None:
    now = datetime.now(UTC)
    # Before the current time of day: otherwise three whole days remain in one of eight runs.
    at = now.replace(microsecond=123456) + timedelta(days=3, seconds=-1)

    exact = (await make(service, expires_at=at.isoformat()))["token"]
    counted = (await make(service, expires_days=30))["token"]
    admin = (await make(service, scopes=["admin"]))["token"]
    longest = (await make(service, scopes=["admin"], expires_days=365))["token"]

    assert datetime.fromisoformat(exact["expires_at"]) == at
    assert exact["remarks"] == ["expires in 2 days"]
    ends = [
        datetime.fromisoformat(token["expires_at"]) - now for token in (counted, admin, longest)
    ]
    assert [round(end / timedelta(days=1)) for end in ends] == [30, 90, 365]


async def test_token_cannot_grant_more_than_its_creator_has(service: Service) -> None:
    creator = await service.token(Scope.ADMIN, Scope.READ, environments=("staging",))
    headers = {"X-API-Key": creator}
    request = READER | {"environments": ["staging"]}

    async def post(**members: Any) -> ClientResponse:
        return await service.stranger.post(PATH, json=request | members, headers=headers)

    allowed = await post()
    scope = await problem(await post(scopes=["read", "write"]), 403)
    foreign = await problem(await post(environments=["staging", "local"]), 403)
    every = await problem(await post(environments=["*"]), 403)

    assert allowed.status == 201
    assert (scope["code"], scope["errors"][0]["field"]) == ("scope_missing", "scopes")
    for refusal in (foreign, every):
        assert (refusal["code"], refusal["errors"][0]["field"]) == (
            "environment_foreign",
            "environments",
        )


async def test_administrator_of_earlier_release_grants_new_scopes(service: Service) -> None:
    """Before proposals had scopes of their own, write was enough for them."""
    earlier = await service.token(Scope.READ, Scope.WRITE, Scope.ADMIN)
    reader = await service.token(Scope.READ, Scope.ADMIN)
    for scope in ("propose", "approve"):
        body = {"name": "reviewer", "scopes": [scope], "environments": ["local"]}
        granted = await service.stranger.post(PATH, json=body, headers={"X-API-Key": earlier})
        assert granted.status == 201, await granted.text()
        refused = await service.stranger.post(PATH, json=body, headers={"X-API-Key": reader})
        assert (await problem(refused, 403))["code"] == "scope_missing"


async def test_administrator_manages_tokens_of_its_environment_only(
    service: Service,
) -> None:
    administrator = {"X-API-Key": await service.token(Scope.ADMIN, environments=("staging",))}
    inside = (await make(service, environments=["staging"]))["token"]["id"]
    both = (await make(service, environments=["local", "staging"]))["token"]["id"]
    every = (await make(service, environments=["*"]))["token"]["id"]

    listed = await (await service.stranger.get(PATH, headers=administrator)).json()
    ids = {token["id"] for token in listed["items"]}
    assert inside in ids
    assert not {both, every} & ids
    for other in (both, every):
        at = f"{PATH}/{other}"
        answers = (
            await service.stranger.get(at, headers=administrator),
            await service.stranger.delete(at, headers=administrator),
            await service.stranger.post(f"{at}/rotate", json={}, headers=administrator),
        )
        assert [answer.status for answer in answers] == [404, 404, 404]
    # A revocation removes power, but a rotation would give the scope read away.
    rotated = await service.stranger.post(f"{PATH}/{inside}/rotate", json={}, headers=administrator)
    assert (await problem(rotated, 403))["errors"][0]["field"] == "scopes"
    assert (await service.stranger.delete(f"{PATH}/{inside}", headers=administrator)).status == 200


async def test_replaced_token_works_during_the_grace_period(service: Service) -> None:
    old = await make(service, expires_days=30)
    at = f"{PATH}/{old['token']['id']}"

    answer = await service.client.post(f"{at}/rotate", json={"grace_seconds": 3_600})
    new = await answer.json()

    assert answer.status == 201
    assert answer.headers["Location"] == f"{PATH}/{new['token']['id']}"
    both = [await status_of(service, token["text"]) for token in (old, new)]
    shown = await (await service.client.get(at)).json()
    for member in ("name", "scopes", "environments"):
        assert new["token"][member] == old["token"][member]
    assert both == [200, 200]
    assert shown["replaced_by"] == new["token"]["id"]
    assert shown["remarks"] == []
    left = datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)
    assert left <= timedelta(hours=1)
    lives = [
        datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["created_at"])
        for token in (old["token"], new["token"])
    ]
    # Each is measured between two looks at the clock.
    assert abs(lives[0] - lives[1]) < timedelta(seconds=HANG_SECONDS)


async def test_replaced_token_is_refused_after_the_grace_period(service: Service) -> None:
    old = await make(service)
    at = f"{PATH}/{old['token']['id']}"
    answer = await service.client.post(f"{at}/rotate", json={"grace_seconds": 1})
    new = await answer.json()
    shown = await (await service.client.get(at)).json()
    expires_at = datetime.fromisoformat(shown["expires_at"])

    # The server may authenticate a request later than it was sent, never earlier.
    asked_at = datetime.now(UTC)
    while await status_of(service, old["text"]) == 200:
        assert asked_at < expires_at
        asked_at = datetime.now(UTC)
    assert await status_of(service, new["text"]) == 200


async def test_grace_period_does_not_extend_the_expiry(service: Service) -> None:
    end = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    old = (await make(service, expires_at=end))["token"]

    await service.client.post(f"{PATH}/{old['id']}/rotate", json={})

    shown = await (await service.client.get(f"{PATH}/{old['id']}")).json()
    assert shown["expires_at"] == old["expires_at"]


@pytest.mark.parametrize("grace_seconds", [-1, 90 * 86_400 + 1, "x", 1.5])
async def test_invalid_grace_period_is_refused(service: Service, grace_seconds: Any) -> None:
    old = (await make(service))["token"]["id"]

    answer = await service.client.post(
        f"{PATH}/{old}/rotate", json={"grace_seconds": grace_seconds}
    )

    assert "grace_seconds" in (await problem(answer, 422))["errors"][0]["field"]


async def test_replaced_or_expired_token_cannot_be_rotated(service: Service) -> None:
    replaced, revoked = [(await make(service))["token"]["id"] for _ in range(2)]
    expired = await service.token(Scope.READ, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    first = await service.client.post(f"{PATH}/{replaced}/rotate", json={})
    await service.client.delete(f"{PATH}/{revoked}")

    codes = []
    for token_id in (replaced, revoked, expired.split("_")[2]):
        answer = await service.client.post(f"{PATH}/{token_id}/rotate", json={})
        codes.append((await problem(answer, 409))["code"])

    assert first.status == 201
    assert codes == ["token_replaced", "token_over", "token_over"]


async def test_token_row_changed_by_sql_is_not_rotated(service: Service, server: Server) -> None:
    """Otherwise the new token would be valid with any grant that was written by SQL."""
    for change in (
        "scopes = '{read,admin}'",
        "environments = '{*}'",
        "expires_at = '2999-01-01'",
        # A successor would get the lifetime that the row shows.
        "created_at = '1999-01-01'",
        "grant_mac = null",
    ):
        old = (await make(service))["token"]["id"]
        with server.admin("suite") as connection:
            connection.execute(f"update flagstone.tokens set {change} where id = %s", [old])  # noqa: S608

        answer = await service.client.post(f"{PATH}/{old}/rotate", json={})

        assert (await problem(answer, 409))["code"] == "token_not_ours", change


@pytest.mark.parametrize(
    ("ended", "cleared"),
    [("DELETE", "revoked_at = null"), ("rotate", "retires_at = null, replaced_by = null")],
)
async def test_database_refuses_successor_of_revoked_or_replaced_token(
    service: Service, server: Server, ended: str, cleared: str
) -> None:
    old = await make(service)
    path = f"{PATH}/{old['token']['id']}"
    if ended == "DELETE":
        await service.client.delete(path)
    else:
        await service.client.post(f"{path}/rotate", json={})
    with server.admin("suite") as connection:
        connection.execute(
            f"update flagstone.tokens set {cleared} where id = %s",  # noqa: S608
            [old["token"]["id"]],
        )

    answer = await service.client.post(f"{path}/rotate", json={})

    assert (await problem(answer, 409))["code"] == "token_not_ours"


async def test_expiry_of_a_replaced_token_cannot_be_moved_by_sql(
    service: Service, server: Server
) -> None:
    """Write access to the database must not be enough to extend a token."""
    old = await make(service)
    await service.client.post(f"{PATH}/{old['token']['id']}/rotate", json={"grace_seconds": 3600})
    assert await status_of(service, old["text"]) == 200

    for change in (
        "retires_at = retires_at + interval '1 day'",
        "retires_at = null, replaced_by = null",
    ):
        with server.admin("suite") as connection:
            connection.execute(
                f"update flagstone.tokens set {change} where id = %s",  # noqa: S608
                [old["token"]["id"]],
            )
        await service.app[TOKENS].refresh()
        assert await status_of(service, old["text"]) == 401


async def test_revocation_is_immediate_permanent_and_repeatable(
    service: Service, server: Server
) -> None:
    issued = await make(service)
    at = f"{PATH}/{issued['token']['id']}"
    assert await status_of(service, issued["text"]) == 200

    first = await service.client.delete(at)
    refused = await status_of(service, issued["text"])
    again = await service.client.delete(at)
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.tokens set revoked_at = null where id = %s", [issued["token"]["id"]]
        )
    await service.app[TOKENS].refresh()

    assert (first.status, refused, again.status) == (200, 401, 200)
    assert (await first.json())["revoked_at"] == (await again.json())["revoked_at"] is not None
    assert await status_of(service, issued["text"]) == 401


@pytest.mark.parametrize("token_id", ["0123456789abc", "x", "%00", "a%2Fb", "0123456789abc%0A"])
async def test_unknown_token_is_not_found(service: Service, token_id: str) -> None:
    at = f"{service.url}{PATH}/{token_id}"

    answers = (
        await service.client.get(at),
        await service.client.delete(at),
        await service.client.post(f"{at}/rotate", json={}),
    )

    assert [answer.status for answer in answers] == [404, 404, 404]


async def test_repeated_creation_makes_no_token_and_hides_the_text(
    service: Service, server: Server
) -> None:
    key = {"Idempotency-Key": "once"}
    first = await service.client.post(PATH, json=READER, headers=key)
    issued = await first.json()

    again = await service.client.post(PATH, json=READER, headers=key)
    other = await service.client.post(PATH, json=READER | {"name": "other"}, headers=key)

    refusal = await problem(again, 409)
    assert refusal["code"] == "token_issued_before"
    assert issued["token"]["id"] in refusal["detail"]
    assert (await problem(other, 409))["code"] == "idempotency_key_reused"
    assert len((await (await service.client.get(PATH)).json())["items"]) == 2
    with server.admin("suite") as connection:
        answers = connection.execute("select answer from flagstone.idempotency_keys").fetchall()
    assert len(answers) == 1
    assert issued["text"].split("_")[3].encode() not in bytes(answers[0][0])  # type: ignore[call-overload]


async def test_relevant_token_changes_by_sql_are_noticed(service: Service, server: Server) -> None:
    """The rows are read only when their fingerprint differs."""
    old = await make(service, expires_days=1)
    token_id = old["token"]["id"]
    await service.client.post(f"{PATH}/{token_id}/rotate", json={})
    directory = service.app[TOKENS]
    seen = [directory.usable]

    for change in (
        "name = 'other'",
        "mac = sha256('other')",
        "scopes = '{write}'",
        "environments = '{staging}'",
        "expires_at = expires_at + interval '1 microsecond'",
        "retires_at = retires_at + interval '1 microsecond'",
        "revoked_at = now()",
        "revoked_at = null",
    ):
        with server.admin("suite") as connection:
            connection.execute(f"update flagstone.tokens set {change} where id = %s", [token_id])  # noqa: S608
        await directory.refresh()
        assert directory.usable is not seen[-1], change
        assert directory.usable != seen[-1], change
        seen.append(directory.usable)
    with server.admin("suite") as connection:
        connection.execute("update flagstone.tokens set last_used_at = now()")
    await directory.refresh()

    assert directory.usable is seen[-1]


async def test_access_log_has_each_token_operation(service: Service) -> None:
    issued = await make(service)
    token_id = issued["token"]["id"]
    await service.client.post(f"{PATH}/{token_id}/rotate", json={})
    await service.client.delete(f"{PATH}/{token_id}")

    async with service.app[DATABASE].connection() as connection:
        rows = await connection.fetch(
            "select event, decision, resource, actor from access_log order by id"
        )

    actor = f"token:{service.admin_token.split('_')[2]}"
    assert [tuple(row) for row in rows] == [
        (f"authn_token_{operation}", "allowed", token_id, actor)
        for operation in ("created", "rotated", "revoked")
    ]
    assert issued["text"] not in str(rows)


async def test_nothing_is_done_that_the_access_log_cannot_tell(
    service: Service, server: Server
) -> None:
    issued = await make(service)
    at = f"{PATH}/{issued['token']['id']}"
    with server.admin("suite") as connection:
        connection.execute("revoke insert on flagstone.access_log from flagstone_app")
    try:
        refused = [
            (await service.client.post(PATH, json=READER)).status,
            (await service.client.post(f"{at}/rotate", json={})).status,
            (await service.client.delete(at)).status,
        ]
    finally:
        with server.admin("suite") as connection:
            connection.execute("grant insert on flagstone.access_log to flagstone_app")

    shown = await (await service.client.get(at)).json()
    assert refused == [503, 503, 503]
    assert (shown["revoked_at"], shown["replaced_by"]) == (None, None)
    assert len((await (await service.client.get(PATH)).json())["items"]) == 2
    await service.app[ACCESS_LOG].run_once()


async def test_last_use_is_written_once_a_minute(service: Service, server: Server) -> None:
    issued, unused = await make(service), await make(service)
    at = f"{PATH}/{issued['token']['id']}"
    use = service.app[TOKEN_USE]
    await status_of(service, issued["text"])
    before = (await (await service.client.get(at)).json())["last_used_at"]

    await use.run_once()
    first = (await (await service.client.get(at)).json())["last_used_at"]
    await status_of(service, issued["text"])
    await use.run_once()
    second = (await (await service.client.get(at)).json())["last_used_at"]
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.tokens set last_used_at = last_used_at - interval '1 minute'"
        )
    await status_of(service, issued["text"])
    await use.run_once()
    third = (await (await service.client.get(at)).json())["last_used_at"]
    other = await (await service.client.get(f"{PATH}/{unused['token']['id']}")).json()

    assert before is None
    assert first is not None
    assert second == first
    assert third > first
    assert other["last_used_at"] is None


async def test_last_use_that_cannot_be_written_is_retried(
    service: Service, settings: Settings
) -> None:
    issued = await make(service)
    at = f"{PATH}/{issued['token']['id']}"
    await status_of(service, issued["text"])
    unopened, directory = Database(settings.database), service.app[TOKENS]
    assert isinstance(directory, TokenDirectory)

    await TokenUse(unopened, directory).run_once()
    before = (await (await service.client.get(at)).json())["last_used_at"]
    await service.app[TOKEN_USE].run_once()

    assert before is None
    assert (await (await service.client.get(at)).json())["last_used_at"] is not None


async def test_failed_flush_of_last_uses_retains_them(service: Service, server: Server) -> None:
    use, token = service.app[TOKEN_USE], await service.token(Scope.READ)
    await use.run_once()
    await service.stranger.get("/v1/environments", headers={"Authorization": f"Bearer {token}"})
    place = f"/v1/tokens/{token.split('_')[2]}"
    # In a thread: the lock waits for the poll of the tokens, which runs on this event loop.
    with server.admin("suite") as connection:
        await asyncio.to_thread(
            connection.execute,
            "alter table flagstone.tokens "
            "add constraint refuses check (last_used_at is null) not valid",
        )
        try:
            await use.run_once()
        finally:
            await asyncio.to_thread(
                connection.execute, "alter table flagstone.tokens drop constraint refuses"
            )
    before = (await (await service.client.get(place)).json())["last_used_at"]
    await use.run_once()
    after = (await (await service.client.get(place)).json())["last_used_at"]

    assert before is None
    assert after is not None


@pytest.mark.parametrize("behind", [timedelta(minutes=30), timedelta(minutes=-30)])
async def test_token_expires_by_the_clock_of_the_database(
    service: Service, monkeypatch: pytest.MonkeyPatch, behind: timedelta
) -> None:
    """A service whose clock is behind must refuse an expired token."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - behind

    now = datetime.now(UTC)
    over = await service.token(Scope.READ, expires_at=now - timedelta(minutes=1))
    good = await service.token(Scope.READ, expires_at=now + timedelta(minutes=1))
    for module in ("credentials", "directory"):
        monkeypatch.setattr(f"app.access.{module}.datetime", Clock)
    await service.app[TOKENS].refresh()
    statuses = [await status_of(service, token) for token in (over, good)]
    monkeypatch.undo()
    await service.app[TOKENS].refresh()

    assert statuses == [401, 200]
