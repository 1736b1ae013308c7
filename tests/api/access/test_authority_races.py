"""The author of a change of access loses their rights while the change waits for the lock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import ClientResponse

from app.access import tokens
from app.access.events import Origin
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import EVERY_ENVIRONMENT, PERSONAL_SCOPES, Grant, Scope
from app.access.people import grants
from app.access.people.edit import AccessEdit
from app.access.people.service import suspend
from app.access.people.sign_in import PersonIdentity, sign_in
from app.access.people.views import NewGrant
from app.access.sessions import service as sessions
from app.database import Connection
from app.errors import AppError
from app.http.keys import DATABASE
from app.server.routes import ROUTES
from tests.api.access.grant_calls import problem
from tests.conftest import Admin, Server, Service
from tests.people import ORIGIN, SignedIn, give, sign_in_person
from tests.waiting import until

Revocation = Callable[[AccessEdit], Awaitable[object]]
ANY = {"If-Match": "*"}
WHY = {"reason": "r"}


@dataclass(frozen=True, kw_only=True)
class Write:
    """A request. `{person}`, `{grant}` and `{token}` in its path are IDs."""

    path: str
    body: dict[str, Any] | None = None
    query: dict[str, str] | None = None


WRITES = {
    "POST /v1/tokens": Write(
        path="/v1/tokens", body={"name": "t", "scopes": ["read"], "environments": ["*"]}
    ),
    "DELETE /v1/tokens/{id}": Write(path="/v1/tokens/{token}"),
    "POST /v1/tokens/{id}/rotate": Write(path="/v1/tokens/{token}/rotate", body={}),
    "POST /v1/people/{id}/suspend": Write(path="/v1/people/{person}/suspend", body=WHY),
    "POST /v1/people/{id}/restore": Write(path="/v1/people/{person}/restore", body=WHY),
    "POST /v1/roles": Write(path="/v1/roles", body={"name": "b", "scopes": ["read"]}),
    "PUT /v1/roles/{name}": Write(path="/v1/roles/a", body={"scopes": ["read"]}),
    "DELETE /v1/roles/{name}": Write(path="/v1/roles/a"),
    "POST /v1/grants": Write(
        path="/v1/grants",
        body={"group": "g", "role": "admin", "environments": ["*"], "reason": "r"},
    ),
    "DELETE /v1/grants/{id}": Write(path="/v1/grants/{grant}", query=WHY),
    "POST /v1/projects": Write(
        path="/v1/projects", body={"name": "b", "prefix": "b/", "owner_group": "g"}
    ),
    "PATCH /v1/projects/{name}": Write(path="/v1/projects/a", body={"owner_group": "g"}),
    "DELETE /v1/projects/{name}": Write(path="/v1/projects/a"),
    "DELETE /v1/environments/{environment}": Write(path="/v1/environments/staging"),
}


@pytest.fixture
async def ids(service: Service) -> dict[str, str]:
    """The IDs of what the requests change."""
    asha = await sign_in_person(service)
    grant = await give(service, "platform", "viewer")
    role = {"name": "a", "scopes": ["read", "write"]}
    project = {"name": "a", "prefix": "a/", "owner_group": "leads"}
    for path, body in (("/v1/roles", role), ("/v1/projects", project)):
        assert (await service.client.post(path, json=body)).status == 201
    token = await service.token(*PERSONAL_SCOPES)
    return {"person": asha.person.id, "grant": grant.id, "token": token.split("_")[2]}


async def send(service: Service, line: str, ids: dict[str, str], token: str) -> ClientResponse:
    write = WRITES[line]
    return await service.stranger.request(
        line.partition(" ")[0],
        write.path.format(**ids),
        json=write.body,
        params=write.query,
        headers={"X-API-Key": token} | ANY,
    )


def operator_edit(service: Service, connection: Connection) -> AccessEdit:
    return AccessEdit(
        connection=connection,
        log=service.app[ACCESS_LOG],
        key=service.app[TOKENS].key,
        origin=Origin(actor="operator:ben"),
    )


async def behind(
    service: Service, server: Server, revocation: Revocation, write: Callable[[], Awaitable[Any]]
) -> Any:
    """Return the result of a write that waits until the revocation is committed."""
    waiting: list[asyncio.Task[Any]] = []

    async def revoke(connection: Connection) -> None:
        edit = operator_edit(service, connection)
        await edit.lock()
        await revocation(edit)
        waiting.append(asyncio.ensure_future(write()))
        await blocked(server)

    await service.app[DATABASE].transact(revoke)
    return await waiting[0]


async def blocked(server: Server) -> None:
    with server.admin("suite") as connection:

        async def is_blocked() -> bool:
            row = connection.execute("select 1 from pg_locks where not granted").fetchone()
            return row is not None

        await until(is_blocked)


def state(cleaner: Admin) -> list[tuple[object, ...]]:
    """Return what the requests could change."""
    return cleaner.execute(
        "select mac from flagstone.tokens union all select mac from flagstone.people "
        "union all select mac from flagstone.roles union all select mac from flagstone.grants "
        "union all select mac from flagstone.projects "
        "union all select sha256(name::bytea) from flagstone.environments where deleted_at is null "
        "order by mac"
    ).fetchall()


def test_every_change_of_access_is_tried() -> None:
    nouns = ("/v1/tokens", "/v1/people", "/v1/roles", "/v1/grants", "/v1/projects")
    lines = {
        f"{route.method} {route.path}"
        for route in ROUTES
        if route.method != "GET" and route.path.startswith(nouns)
    }

    assert lines == {line for line in WRITES if "/environments" not in line}


@pytest.mark.parametrize("line", WRITES)
async def test_write_behind_revocation_of_its_token_is_refused(
    service: Service, server: Server, cleaner: Admin, ids: dict[str, str], line: str
) -> None:
    author = await service.token(*PERSONAL_SCOPES)

    async def revoke(edit: AccessEdit) -> None:
        await tokens.revoke(edit, author.split("_")[2])

    async def write() -> ClientResponse:
        return await send(service, line, ids, author)

    answer = await behind(service, server, revoke, write)

    assert await problem(answer, 401) == ("token_refused", [])
    before = state(cleaner)
    # The same request of a valid token changes something: the refusal above was for the token.
    answer = await send(service, line, ids, service.admin_token)
    assert answer.status in {200, 201}, await answer.text()
    assert state(cleaner) != before or "restore" in line


@pytest.mark.parametrize("line", WRITES)
async def test_write_behind_narrowing_of_its_token_is_refused(
    service: Service, server: Server, ids: dict[str, str], line: str
) -> None:
    """The rows decide, and not the token in memory."""
    author = await service.token(*PERSONAL_SCOPES)

    async def narrow(edit: AccessEdit) -> None:
        await edit.connection.execute(
            "update tokens set scopes = '{read}' where id = $1", author.split("_")[2]
        )

    answer = await behind(service, server, narrow, lambda: send(service, line, ids, author))

    assert await problem(answer, 403) == ("scope_missing", [])


async def test_row_with_more_scopes_gives_no_more(service: Service, server: Server) -> None:
    """Write access to the database gives no rights: the MAC of the token is in memory."""
    author = await service.token(*(PERSONAL_SCOPES - {Scope.REVEAL}))

    async def widen(edit: AccessEdit) -> None:
        await edit.connection.execute(
            "update tokens set scopes = scopes || '{reveal}' where id = $1", author.split("_")[2]
        )

    body = {"name": "c", "scopes": ["reveal"]}
    headers = {"X-API-Key": author}
    answer = await behind(
        service,
        server,
        widen,
        lambda: service.stranger.post("/v1/roles", json=body, headers=headers),
    )

    assert (await problem(answer, 403))[0] == "scope_missing"


async def administrator(service: Service, subject: str, *groups: str) -> SignedIn:
    signed_in = await sign_in_person(service, subject, *groups)
    if not groups:
        await give(service, signed_in.person, "admin")
    return signed_in


def edit_as(service: Service, author: SignedIn, connection: Connection) -> AccessEdit:
    """Return the change that a person begins with the rights in memory."""
    edit = operator_edit(service, connection)
    caller = service.app[TOKENS].authenticate_session(author.text)
    return replace(edit, author=caller)


async def outcome(service: Service, work: Callable[[Connection], Awaitable[object]]) -> str:
    try:
        await service.app[DATABASE].transact(work)
    except AppError as error:
        return error.code
    return "done"


async def _suspend(edit: AccessEdit, author: SignedIn) -> None:
    await suspend(edit, author.person.id, reason="r")


async def _revoke_grant(edit: AccessEdit, author: SignedIn) -> None:
    await edit.connection.execute("delete from grants where person_id = $1", author.person.id)


async def _end_session(edit: AccessEdit, author: SignedIn) -> None:
    await sessions.revoke(edit.connection, actor=author.person.actor)


async def _forge(edit: AccessEdit, author: SignedIn) -> None:
    await edit.connection.execute(
        "update people set groups = '{platform}' where id = $1", author.person.id
    )


@pytest.mark.parametrize(
    ("revocation", "code"),
    [
        (_suspend, "person_suspended"),
        (_revoke_grant, "scope_missing"),
        (_end_session, "session_refused"),
        (_forge, "scope_missing"),
    ],
)
async def test_grant_behind_loss_of_its_author_is_refused(
    service: Service, server: Server, cleaner: Admin, revocation: Any, code: str
) -> None:
    await administrator(service, "ben")
    author = await administrator(service, "asha")
    new = NewGrant(group="g", role="viewer", environments=["*"], reason="r")
    authenticated = service.app[TOKENS].authenticate_session(author.text)

    async def grant(connection: Connection) -> None:
        edit = replace(operator_edit(service, connection), author=authenticated)
        await grants.create(edit, new)

    result = await behind(
        service, server, lambda edit: revocation(edit, author), lambda: outcome(service, grant)
    )

    assert result == code
    assert (
        cleaner.execute("select 1 from flagstone.grants where group_name = 'g'").fetchone() is None
    )


async def test_token_behind_loss_of_a_group_is_refused(service: Service, server: Server) -> None:
    """As a sign-in elsewhere stores it."""
    await give(service, "leads", "admin")
    author = await administrator(service, "asha", "leads")
    caller = service.app[TOKENS].authenticate_session(author.text)
    everything = Grant(
        scopes=frozenset({Scope.READ}), environments=frozenset({EVERY_ENVIRONMENT}), expires_at=None
    )

    async def lose_group(edit: AccessEdit) -> None:
        person = author.person
        identity = PersonIdentity(issuer=person.issuer, subject=person.subject, name=person.name)
        await sign_in(edit.connection, edit.log, edit.key, identity, origin=ORIGIN)

    async def create(connection: Connection) -> None:
        edit = replace(operator_edit(service, connection), author=caller)
        await tokens.create(edit, name="t", grant=everything)

    result = await behind(service, server, lose_group, lambda: outcome(service, create))

    assert result == "scope_missing"


async def test_session_end_behind_suspension_is_refused(service: Service, server: Server) -> None:
    await administrator(service, "ben")
    author = await administrator(service, "asha")
    async with service.signed_in(service.admin_token) as browser:
        del browser
        other = service.app[TOKENS].sessions.of(f"token:{service.admin_token.split('_')[2]}")
        assert other is not None
        cookie = {"Cookie": f"flagstone={author.text}", "Sec-Fetch-Site": "same-origin"}

        answer = await behind(
            service,
            server,
            lambda edit: _suspend(edit, author),
            lambda: service.stranger.post(
                f"/console/sessions/{other.id}/end", headers=cookie, allow_redirects=False
            ),
        )

        assert answer.status == 401
        await service.app[TOKENS].refresh()
        assert service.app[TOKENS].sessions.of(other.actor) is not None


@pytest.mark.parametrize("first", [0, 1])
async def test_first_of_two_who_revoke_each_other_wins(
    service: Service, server: Server, first: int
) -> None:
    pair = [await service.token(*PERSONAL_SCOPES) for _ in range(2)]
    winner, loser = pair[first], pair[1 - first]
    names = [token.split("_")[2] for token in (winner, loser)]
    winning = service.app[TOKENS].authenticate(winner)

    async def revoke(edit: AccessEdit) -> None:
        await tokens.revoke(replace(edit, author=winning), names[1])

    answer = await behind(
        service,
        server,
        revoke,
        lambda: service.stranger.delete(f"/v1/tokens/{names[0]}", headers={"X-API-Key": loser}),
    )

    assert answer.status == 401
    await service.app[TOKENS].refresh()
    assert service.app[TOKENS].authenticate(winner).token_id == names[0]


async def test_one_of_two_revoked_administrators_stays(service: Service) -> None:
    """Both have begun, and each suspends the other."""
    for _ in range(3):
        ben, chen = await administrator(service, "ben"), await administrator(service, "chen")
        both = asyncio.Barrier(2)

        async def attempt(author: SignedIn, other: SignedIn, both: asyncio.Barrier = both) -> str:
            async def work(connection: Connection) -> None:
                edit = edit_as(service, author, connection)
                await connection.fetchval("select 1")
                await both.wait()
                await suspend(edit, other.person.id, reason="r")

            return await outcome(service, work)

        results = await asyncio.gather(attempt(ben, chen), attempt(chen, ben))

        assert sorted(results) == ["done", "person_suspended"]
        restored = ben if results[1] == "done" else chen
        answer = await service.client.post(f"/v1/people/{restored.person.id}/restore", json=WHY)
        assert answer.status == 200


async def test_loser_of_a_mutual_suspension_reads_why(service: Service, cleaner: Admin) -> None:
    """Two administrators suspend each other at once, each in the console."""
    ben, chen = await administrator(service, "ben"), await administrator(service, "chen")

    async def suspend(author: SignedIn, other: SignedIn) -> tuple[int, str]:
        path = f"/console/people/{other.person.id}/suspend"
        headers = {"Cookie": f"flagstone={author.text}", "Sec-Fetch-Site": "same-origin"}
        async with service.stranger.post(
            path, data=WHY, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, await answer.text()

    answers = await asyncio.gather(suspend(ben, chen), suspend(chen, ben))
    (winner, loser) = (ben, chen) if answers[0][0] == 303 else (chen, ben)

    assert sorted(status for status, _ in answers) == [303, 401]
    assert "An administrator has suspended your account." in max(text for _, text in answers)
    await service.app[ACCESS_LOG].run_once()
    rows = cleaner.execute(
        "select event, decision, actor, detail from flagstone.access_log order by id desc limit 2"
    ).fetchall()
    assert rows == [
        ("authz_fail", "refused", loser.person.actor, "person_suspended"),
        ("authz_change", "allowed", winner.person.actor, "person suspended: r"),
    ]
