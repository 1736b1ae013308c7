"""People over HTTP: list, suspend and restore them; and the last administrator."""

import asyncio
from typing import Any

import pytest

from app.access.directory import TokenDirectory
from app.access.events import Origin
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.people import service as people
from app.access.people.edit import AccessEdit
from app.database import Database
from app.errors import AppError, Forbidden, Unauthenticated
from app.http.keys import DATABASE
from app.settings import Settings, Target
from tests.api.access.grant_calls import limited_administrator, make_grant, problem
from tests.conftest import Admin, Service
from tests.people import SignedIn, sign_in_person

PATH = "/v1/people"
REASON = {"reason": "Left the company."}


async def suspend(service: Service, signed_in: SignedIn, action: str = "suspend") -> dict[str, Any]:
    answer = await service.client.post(f"{PATH}/{signed_in.person.id}/{action}", json=REASON)
    assert answer.status == 200, await answer.text()
    person: dict[str, Any] = await answer.json()
    return person


async def administrator(service: Service, subject: str) -> SignedIn:
    """Return a person who administers all keys of all environments."""
    signed_in = await sign_in_person(service, subject)
    everything = {"role": "admin", "environments": ["*"], "prefix": ""}
    await make_grant(service, group=None, person=signed_in.person.id, **everything)
    return signed_in


async def test_person_is_shown_with_groups(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform", "staff")

    person = await (await service.client.get(f"{PATH}/{asha.person.id}")).json()

    assert person["actor"] == f"person:{asha.person.id}"
    assert (person["name"], person["email"]) == ("Asha", "asha@example.com")
    assert (person["groups"], person["remarks"]) == (["platform", "staff"], [])


async def test_search_and_group_select_people(service: Service) -> None:
    for subject, group in (("asha", "platform"), ("ben", "platform"), ("chen", "search")):
        await sign_in_person(service, subject, group)

    async def names(**query: str) -> set[str]:
        page = await (await service.client.get(PATH, params=query)).json()
        return {item["name"] for item in page["items"]}

    assert await names() == {"Asha", "Ben", "Chen"}
    assert await names(search="ASHA") == {"Asha"}
    assert await names(search="example.com", group="platform") == {"Asha", "Ben"}
    assert await names(group="plat") == set()


async def test_pages_have_each_person_once_by_name(service: Service) -> None:
    for subject, name in zip("12345", ("chen", "Asha", "Ben", "asha", "asha"), strict=True):
        await sign_in_person(service, subject, name=name)
    seen: list[tuple[str, str]] = []
    page: dict[str, Any] = {"next": ""}
    for _ in range(3):
        query = {"limit": "2", "after": page["next"]}
        page = await (await service.client.get(PATH, params=query)).json()
        seen += [(item["name"].lower(), item["id"]) for item in page["items"]]

    assert (page["next"], len(seen), seen) == (None, 5, sorted(seen))


async def test_suspended_person_is_refused_at_once(service: Service) -> None:
    asha = await sign_in_person(service)

    person = await suspend(service, asha)

    assert person["suspended_at"]
    with pytest.raises(Unauthenticated) as at_page:
        service.app[TOKENS].authenticate_session(asha.text)
    with pytest.raises(Forbidden) as at_sign_in:
        await sign_in_person(service)
    assert at_page.value.code == at_sign_in.value.code == "person_suspended"


async def test_suspended_person_reads_the_reason_at_the_next_page(service: Service) -> None:
    asha = await sign_in_person(service)
    await suspend(service, asha)

    async def visit(cookie: str) -> tuple[int, str]:
        headers = {"Cookie": f"flagstone={cookie}"}
        answer = await service.stranger.get("/console/sessions", headers=headers)
        return answer.status, await answer.text()

    words = "An administrator has suspended your account."
    status, page = await visit(asha.text)
    assert (status, words in page) == (403, True)
    # A stranger who knows the ID of the session learns nothing.
    wrong = asha.text[:-1] + ("a" if asha.text[-1] != "a" else "b")
    status, page = await visit(wrong)
    assert (status, words in page) == (200, False)
    await suspend(service, asha, "restore")
    status, page = await visit(asha.text)
    assert (status, words in page) == (200, False)


@pytest.mark.parametrize("path", ["/console/sign-out", "/console/sign-in"])
async def test_session_of_a_suspended_person_ends_with_the_browser(
    service: Service, cleaner: Admin, path: str
) -> None:
    """The page says that the session has ended, and a new session replaces it."""
    asha = await sign_in_person(service)
    await suspend(service, asha)
    headers = {"Cookie": f"flagstone={asha.text}", "Sec-Fetch-Site": "same-origin"}

    answer = await service.stranger.post(
        path, data={"token": service.admin_token}, headers=headers, allow_redirects=False
    )

    assert answer.status == 303
    query = "select count(*) from flagstone.sessions where actor = %s and revoked_at is null"
    assert cleaner.execute(query, [asha.person.actor]).fetchone() == (0,)


async def test_suspended_person_may_sign_in_with_a_token(service: Service) -> None:
    asha = await sign_in_person(service)
    await suspend(service, asha)
    headers = {"Cookie": f"flagstone={asha.text}", "Sec-Fetch-Site": "same-origin"}

    answer = await service.stranger.post(
        "/console/sign-in",
        data={"token": service.admin_token},
        headers=headers,
        allow_redirects=False,
    )

    assert answer.status == 303


async def test_form_of_a_suspended_person_is_refused_with_the_reason(service: Service) -> None:
    asha = await sign_in_person(service)
    await suspend(service, asha)
    headers = {"Cookie": f"flagstone={asha.text}", "Sec-Fetch-Site": "same-origin"}

    answer = await service.stranger.post("/console/sessions/end", headers=headers)

    assert answer.status == 401
    assert "An administrator has suspended your account." in await answer.text()


async def test_sessions_of_a_suspended_person_are_not_listed(service: Service) -> None:
    asha = await sign_in_person(service)
    async with service.signed_in(service.admin_token) as browser:
        listed = await (await browser.get("/console/sessions")).text()
        await suspend(service, asha)
        after = await (await browser.get("/console/sessions")).text()

    assert ("Asha" in listed, "Asha" in after) == (True, False)


async def test_suspension_ends_sessions_on_other_instance(
    service: Service, settings: Settings, database_target: Target
) -> None:
    asha = await sign_in_person(service)
    database = Database(settings.database)
    await database.open(database_target)
    other = TokenDirectory(database, service.app[TOKENS].key)
    await other.refresh()
    assert other.authenticate_session(asha.text).name == "Asha"

    await suspend(service, asha)
    # The poll of half a second does the same.
    await other.refresh()

    with pytest.raises(Unauthenticated):
        other.authenticate_session(asha.text)
    await database.close()


async def test_restored_person_signs_in_again(service: Service) -> None:
    asha = await sign_in_person(service)
    await suspend(service, asha)

    person = await suspend(service, asha, "restore")

    assert person["suspended_at"] is None
    again = await sign_in_person(service)
    assert again.person.id == asha.person.id
    assert service.app[TOKENS].authenticate_session(again.text).name == "Asha"
    # A session of before stays over.
    with pytest.raises(Unauthenticated):
        service.app[TOKENS].authenticate_session(asha.text)


async def test_suspending_twice_is_recorded_once(service: Service) -> None:
    asha = await sign_in_person(service)

    first = await suspend(service, asha)
    second = await suspend(service, asha)

    assert first == second
    query = {"subject": asha.person.id}
    changes = await (await service.client.get("/v1/access/history", params=query)).json()
    assert [change["event"] for change in changes["items"]] == ["person_suspended"]
    assert changes["items"][0]["reason"] == REASON["reason"]


@pytest.mark.parametrize("limits", [{}, {"environments": ["local"], "prefixes": [""]}])
async def test_limited_administrator_suspends_no_person(
    service: Service, limits: dict[str, Any]
) -> None:
    asha = await sign_in_person(service)
    headers = await limited_administrator(service, **limits)

    for action in ("suspend", "restore"):
        path = f"{PATH}/{asha.person.id}/{action}"
        answer = await service.stranger.post(path, json=REASON, headers=headers)
        assert await problem(answer, 403) == ("all_keys_needed", [])


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": "a\nb"}])
async def test_suspension_needs_a_reason(service: Service, body: dict[str, str]) -> None:
    asha = await sign_in_person(service)

    answer = await service.client.post(f"{PATH}/{asha.person.id}/suspend", json=body)

    assert answer.status == 422


async def test_unknown_person_is_not_found(service: Service) -> None:
    for id_ in ("0123456789abC", "x"):
        shown = await service.client.get(f"{PATH}/{id_}")
        suspended = await service.client.post(f"{PATH}/{id_}/suspend", json=REASON)
        for answer in (shown, suspended):
            assert await problem(answer, 404) == ("person_unknown", [])


async def test_person_changed_by_hand_is_not_suspended(service: Service, cleaner: Admin) -> None:
    asha = await sign_in_person(service)
    cleaner.execute("update flagstone.people set groups = '{platform}'")

    answer = await service.client.post(f"{PATH}/{asha.person.id}/suspend", json=REASON)

    assert await problem(answer, 409) == ("person_unsigned", [])
    shown = await (await service.client.get(f"{PATH}/{asha.person.id}")).json()
    assert shown["remarks"] == ["changed outside of the service, and ignored"]


async def test_last_administrator_cannot_be_suspended(service: Service) -> None:
    asha = await administrator(service, "asha")

    answer = await service.client.post(f"{PATH}/{asha.person.id}/suspend", json=REASON)

    assert await problem(answer, 409) == ("last_admin", [])
    assert service.app[TOKENS].authenticate_session(asha.text).name == "Asha"


async def test_last_grant_of_admin_cannot_be_revoked(service: Service) -> None:
    await sign_in_person(service, "asha", "platform")
    grant = await make_grant(service, role="admin", environments=["*"], prefix="")

    path, reason = f"/v1/grants/{grant['id']}", {"reason": "r"}
    answer = await service.client.delete(path, params=reason)
    assert await problem(answer, 409) == ("last_admin", [])

    await administrator(service, "ben")
    assert (await service.client.delete(path, params=reason)).status == 200


async def test_grant_of_admin_without_members_can_be_revoked(service: Service) -> None:
    grant = await make_grant(service, role="admin", environments=["*"], prefix="")

    answer = await service.client.delete(f"/v1/grants/{grant['id']}", params={"reason": "r"})

    assert answer.status == 200


async def test_last_role_with_admin_cannot_lose_it(service: Service) -> None:
    role = {"name": "owner", "scopes": ["read", "admin"]}
    assert (await service.client.post("/v1/roles", json=role)).status == 201
    await sign_in_person(service, "asha", "platform")
    await make_grant(service, role="owner", environments=["*"], prefix="")

    answer = await service.client.put(
        "/v1/roles/owner", json={"scopes": ["read"]}, headers={"If-Match": "*"}
    )

    assert await problem(answer, 409) == ("last_admin", [])


@pytest.mark.parametrize("limits", [{"environments": ["local"]}, {"prefix": "payments/"}])
async def test_limited_administrator_is_not_the_last_one(
    service: Service, limits: dict[str, Any]
) -> None:
    asha = await administrator(service, "asha")
    ben = await sign_in_person(service, "ben")
    members = {"role": "admin", "environments": ["*"], "prefix": ""} | limits
    await make_grant(service, group=None, person=ben.person.id, **members)

    answer = await service.client.post(f"{PATH}/{asha.person.id}/suspend", json=REASON)

    assert await problem(answer, 409) == ("last_admin", [])


async def test_one_of_two_suspended_administrators_stays(service: Service) -> None:
    asha, ben = await administrator(service, "asha"), await administrator(service, "ben")
    log, key, database = service.app[ACCESS_LOG], service.app[TOKENS].key, service.app[DATABASE]
    both_in_transactions = asyncio.Barrier(2)

    async def attempt(author: SignedIn, other: SignedIn) -> str:
        async def work(connection: Any) -> None:
            await connection.fetchval("select 1")
            await both_in_transactions.wait()
            edit = AccessEdit(
                connection=connection,
                log=log,
                key=key,
                origin=Origin(actor=author.person.actor),
            )
            await people.suspend(edit, other.person.id, reason="No.")

        try:
            await database.transact(work)
        except AppError as error:
            return error.code
        return "suspended"

    results = await asyncio.gather(attempt(asha, ben), attempt(ben, asha))

    assert sorted(results) == ["last_admin", "suspended"]


async def test_refusal_of_suspended_person_is_logged(service: Service, cleaner: Admin) -> None:
    asha = await sign_in_person(service)
    await suspend(service, asha)
    with pytest.raises(Forbidden):
        await sign_in_person(service)

    await service.app[ACCESS_LOG].run_once()

    rows = cleaner.execute(
        "select event, decision, actor, detail from flagstone.access_log where resource = %s",
        [asha.person.id],
    ).fetchall()
    assert ("authn_login_fail", "refused", asha.person.actor, "person_suspended") in rows
    assert ("authz_change", "allowed", f"token:{service.admin_token.split('_')[2]}") in [
        row[:3] for row in rows
    ]
