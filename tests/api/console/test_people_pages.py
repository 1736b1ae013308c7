"""The pages of people, groups, roles, grants and projects: each action, and who sees what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar

from app.access.models import Scope
from tests.conftest import Service
from tests.factories import flag
from tests.html import parse_html
from tests.people import give, sign_in_person

OWN = {"Sec-Fetch-Site": "same-origin"}


async def read(browser: ClientSession, path: str, status: int = 200) -> str:
    async with browser.get(f"/console/{path}") as answer:
        assert answer.status == status, await answer.text()
        return await answer.text()


async def send(browser: ClientSession, path: str, expected: int = 303, **form: Any) -> str:
    """Post a form. Return the page, or after a redirect its address."""
    fields = [
        (name, item)
        for name, value in form.items()
        for item in (value if isinstance(value, tuple) else (value,))
    ]
    async with browser.post(
        f"/console/{path}", data=fields or {"": ""}, allow_redirects=False
    ) as answer:
        text = await answer.text()
        assert answer.status == expected, text
        return answer.headers["Location"] if expected == 303 else text


@asynccontextmanager
async def browser_of(service: Service, cookie: str) -> AsyncIterator[ClientSession]:
    """Yield the browser of a person who has signed in with a provider."""
    headers = OWN | {"Cookie": f"flagstone={cookie}"}
    async with ClientSession(
        base_url=service.url, cookie_jar=CookieJar(unsafe=True), headers=headers
    ) as browser:
        yield browser


async def test_every_page_is_empty_at_first(console: ClientSession) -> None:
    assert "No people yet" in await read(console, "people")
    assert "OIDC_ISSUER" in await read(console, "people")
    assert "No groups yet" in await read(console, "groups")
    assert "No grants yet" in await read(console, "grants")
    assert "No projects yet" in await read(console, "projects")
    assert "No changes yet" in await read(console, "grants/history")
    assert "built in" in await read(console, "roles")
    assert "local admin" in await read(console, "me")


async def test_person_has_rights_with_reasons(service: Service, console: ClientSession) -> None:
    asha = (await sign_in_person(service, "asha", "platform")).person
    await send(
        console,
        "grants/new",
        group="platform",
        role="editor",
        environments=("local", "staging"),
        prefix="payments/",
        reason="They run payments",
    )

    page = await read(console, f"people/{asha.id}")

    assert "read, write, evaluate" in page or "evaluate, read, write" in page
    assert "local, staging" in page
    assert "<code>payments/</code>" in page
    assert "Group platform:" in page
    assert "They run payments" in page
    assert "First sign-in" in page
    assert "Last sign-in" in page
    assert asha.id in await read(console, "people?q=ASHA")
    assert "No person matches" in await read(console, "people?q=zed")
    assert asha.id in await read(console, "people?group=platform")
    groups = await read(console, "groups")
    assert "1 person" in groups
    assert "editor</a> in local, staging" in groups


async def test_group_shows_its_first_grants(service: Service, console: ClientSession) -> None:
    for number in range(7):
        await give(service, "platform", "viewer", prefix=f"team-{number}/")

    page = await read(console, "groups")

    assert page.count("viewer</a> in all environments") == 5
    assert "and 2 more grants" in page


async def test_suspension_needs_a_reason(service: Service, console: ClientSession) -> None:
    signed_in = await sign_in_person(service, "asha")
    path = f"people/{signed_in.person.id}"

    refused = await send(console, f"{path}/suspend", expected=422, reason=" ")
    assert "must not be empty: say why" in refused
    await send(console, f"{path}/suspend", reason="Left the company")

    page = await read(console, f"{path}?done=suspended")
    assert "Their sessions have ended" in page
    assert "Restore the person" in page
    async with (
        browser_of(service, signed_in.text) as browser,
        browser.get("/console/me", allow_redirects=False) as answer,
    ):
        assert answer.status == 303
    await send(console, f"{path}/restore", reason="Came back")
    history = await read(console, "grants/history")
    assert history.index("Restored Asha") < history.index("Suspended Asha")
    assert "Left the company" in history


async def test_grants_are_filtered_and_revoked(service: Service, console: ClientSession) -> None:
    asha = (await sign_in_person(service, "asha")).person
    own = await give(service, asha, "editor", environments=("local",), prefix="shop/")
    everyone = await give(service, "platform", "viewer", environments=("staging",))

    async def listed(query: str) -> set[str]:
        page = await read(console, f"grants?{query}")
        return {item.id for item in (own, everyone) if f"/console/grants/{item.id}" in page}

    assert await listed("") == {own.id, everyone.id}
    assert await listed("role=viewer") == {everyone.id}
    assert await listed("environment=local") == {own.id}
    assert await listed("key=shop/tax") == {own.id, everyone.id}
    assert await listed("key=bank/") == {everyone.id}
    assert await listed("who=ASH") == {own.id}
    assert await listed("who=zed") == set()
    refused = await send(console, f"grants/{own.id}/revoke", expected=422, reason="")
    assert "must not be empty: say why" in refused
    await send(console, f"grants/{own.id}/revoke", reason="Changed teams")
    assert await listed("") == {everyone.id}
    history = await read(console, "grants/history")
    assert "Revoked editor of Asha in local, for keys with the prefix shop/" in history
    assert "Changed teams" in history


async def test_history_names_a_grant_and_its_reason(
    service: Service, console: ClientSession
) -> None:
    grant = {"group": "platform", "role": "viewer", "environments": ["*"], "reason": "On call"}
    async with service.client.post("/v1/grants", json=grant) as answer:
        assert answer.status == 201

    history = await read(console, "grants/history")
    assert "Granted viewer to the group platform in all environments, for all keys" in history
    assert "On call" in history


async def test_wrong_grant_says_what_is_wrong(console: ClientSession) -> None:
    page = await send(
        console,
        "grants/new",
        expected=422,
        group="a",
        person="b",
        role="viewer",
        environments="*",
        reason="x",
    )
    assert "name either a person or a group" in page
    page = await send(console, "grants/new", expected=422, group="a", role="viewer", reason="x")
    assert "must not be empty" in page
    page = await send(
        console,
        "grants/new",
        expected=422,
        group="a",
        role="viewer",
        environments="*",
        prefix="/a b",
        reason="x",
    )
    assert 'value="/a b"' in page
    assert "must be empty, or begin with" in page


async def test_last_administrator_is_not_revoked(service: Service, console: ClientSession) -> None:
    asha = (await sign_in_person(service, "asha")).person
    last = await give(service, asha, "admin")

    page = await send(console, f"grants/{last.id}/revoke", expected=409, reason="Bye")
    suspended = await send(console, f"people/{asha.id}/suspend", expected=409, reason="Bye")

    assert "No person would have the scope admin" in page
    assert "No person would have the scope admin" in suspended


async def test_role_is_made_changed_and_deleted(service: Service, console: ClientSession) -> None:
    form: dict[str, Any] = {"name": "on-call", "scopes": ("read", "write"), "reason": "Nights"}
    assert await send(console, "roles/new", **form) == "/console/roles/on-call?saved="
    taken = await send(console, "roles/new", expected=409, **form)
    assert "must not be the name of an existing role" in taken
    assert "must not be empty" in await send(
        console, "roles/new", expected=422, name="x", reason="y"
    )

    change: dict[str, Any] = {"version": "1", "scopes": ("read",), "reason": "Less"}
    await send(console, "roles/on-call", **change)
    assert "changed meanwhile" in await send(console, "roles/on-call", expected=412, **change)
    given = await give(service, "night-shift", "on-call")
    used = await send(console, "roles/on-call/delete", expected=409, version="2", reason="x")
    assert given.id in used
    await send(console, f"grants/{given.id}/revoke", reason="x")
    await send(console, "roles/on-call/delete", version="2", reason="Not needed")

    assert "The role on-call was deleted" in await read(console, "roles?deleted=on-call")
    history = await read(console, "grants/history")
    assert "Changed the role on-call, which may read and write, now which may read" in history
    await read(console, "roles/on-call", status=404)
    assert "cannot be changed" in await read(console, "roles/editor")


async def test_project_has_grants_and_tokens(service: Service, console: ClientSession) -> None:
    form: dict[str, Any] = {
        "name": "payments",
        "prefix": "payments/",
        "owner_group": "pay",
        "reason": "New team",
    }
    await send(console, "projects/new", **form)
    await give(service, "auditors", "viewer", prefix="payments/limits/")
    await give(service, "shop", "viewer", prefix="shop/")
    token = await service.token(Scope.READ, prefixes=("payments/",))

    page = await read(console, "projects/payments")

    assert "auditors" in page
    assert token.split("_")[2] in page
    assert 'group=shop"' not in page
    assert "owner of the project" in await read(console, "groups")
    change: dict[str, Any] = {
        "version": "1",
        "prefix": "payments/",
        "owner_group": "bank",
        "reason": "Renamed",
    }
    await send(console, "projects/payments", **change)
    assert "changed meanwhile" in await send(console, "projects/payments", expected=412, **change)
    for text in ("", " "):
        unnamed = change | {"version": "2", "owner_group": text}
        assert "must name a group" in await send(
            console, "projects/payments", expected=422, **unnamed
        )
    await send(console, "projects/payments/delete", version="2", reason="Merged")
    assert "No projects yet" in await read(console, "projects?deleted=payments")
    assert "now of keys with the prefix payments/, owner group bank" in await read(
        console, "grants/history"
    )


async def test_check_says_why(service: Service, console: ClientSession) -> None:
    asha = (await sign_in_person(service, "asha", "platform")).person
    await give(service, "platform", "editor", environments=("local",), prefix="shop/")
    question = f"access-check?actor=person:{asha.id}&action=write&environment=local"

    yes = await read(console, f"{question}&key=shop/tax")
    no = await read(console, f"{question}&key=bank/tax")
    everyone = await read(console, "access-check?action=write&environment=local&key=shop/tax")

    token = service.admin_token.split("_")[2]
    assert f"access-check?actor=token%3A{token}" in await read(console, f"tokens/{token}")
    assert "Yes: Asha may write" in yes
    assert "via group platform" in yes
    assert "No: Asha may not write" in no
    assert "not for this key" in no
    assert "<h3>Groups</h3>" in everyone
    assert asha.actor in everyone
    assert "local admin" in everyone
    wrong = await read(console, f"{question}&key=%2F", status=422)
    assert "key: must begin with" in wrong
    assert 'aria-invalid="true"' in wrong
    # A question saves nothing.
    assert "Not saved." not in wrong
    await read(console, "access-check?actor=x&environment=local&key=a", status=404)


async def test_administrator_of_a_prefix_sees_what_is_theirs(service: Service) -> None:
    signed_in = await sign_in_person(service, "asha", "shop")
    await give(service, "shop", "admin", prefix="shop/")
    foreign = await give(service, "secret-team", "editor", prefix="bank/")
    near = await give(service, "helpers", "viewer", prefix="shop/tax/")

    async with browser_of(service, signed_in.text) as browser:
        pages = [
            await read(browser, path)
            for path in ("grants", "groups", "projects", "roles", "grants/history", "people")
        ]
        assert near.id in pages[0]
        assert all("secret-team" not in page and "bank/" not in page for page in pages)
        await read(browser, f"grants/{foreign.id}", status=404)
        await send(browser, f"grants/{foreign.id}/revoke", expected=404, reason="x")
        form: dict[str, Any] = {"group": "x", "role": "viewer", "environments": "*", "reason": "x"}
        refused = await send(browser, "grants/new", expected=403, prefix="bank/", **form)
        assert "must be among" in refused
        await send(browser, "grants/new", prefix="shop/", **form)
        await read(browser, "roles/new", status=403)
        question = "access-check?action=write&environment=local&key="
        await read(browser, f"{question}shop/a")
        await read(browser, f"{question}bank/a", status=403)


@pytest.mark.parametrize(("environment", "is_offered"), [("*", True), ("local", False)])
@pytest.mark.parametrize("path", ["grants/new", "tokens/new"])
async def test_all_environments_are_offered_to_their_administrators(
    service: Service, path: str, environment: str, *, is_offered: bool
) -> None:
    signed_in = await sign_in_person(service, "asha", "shop")
    await give(service, "shop", "admin", environments=(environment,), prefix="shop/")

    async with browser_of(service, signed_in.text) as browser:
        page = await read(browser, path)

    assert ('name="environments" value="*"' in page) is is_offered
    assert 'name="environments" value="local"' in page


async def test_person_without_rights_sees_why(service: Service) -> None:
    signed_in = await sign_in_person(service, "asha", "platform")

    async with browser_of(service, signed_in.text) as browser:
        page = await read(browser, "me")
        await read(browser, "grants", status=403)
        await read(browser, f"people/{signed_in.person.id}", status=403)

    assert "You have no rights yet" in page
    assert signed_in.person.actor in page
    assert "platform" in page
    assert "sent no groups" not in page
    # The menu asks for no number that the service would refuse.
    assert "proposals/waiting" not in page


async def test_person_without_groups_sees_what_to_check(service: Service) -> None:
    signed_in = await sign_in_person(service, "asha")

    async with browser_of(service, signed_in.text) as browser:
        page = await read(browser, "me")

    assert "Your provider sent no groups." in page
    assert "OIDC_GROUPS_CLAIM" in page


@pytest.mark.parametrize("name", ["flags", "settings", "segments", "changes"])
async def test_empty_list_names_the_keys_of_the_reader(service: Service, name: str) -> None:
    """Otherwise a person with a prefix would think that nothing exists."""
    signed_in = await sign_in_person(service, "asha", "shop", "platform")
    await give(service, "shop", "viewer", environments=("local",), prefix="shop/")

    async with browser_of(service, signed_in.text) as browser:
        limited = await read(browser, f"environments/local/{name}")
        await give(service, "platform", "viewer", environments=("local",))
        unlimited = await read(browser, f"environments/local/{name}")

    words = "You may read keys with the prefix shop/ here, and no others."
    assert (words in limited, words in unlimited) == (True, False)


@pytest.mark.parametrize(("prefix", "is_advised"), [("payments", True), ("payments/", False)])
async def test_grant_for_more_than_a_folder_is_advised_against(
    console: ClientSession, prefix: str, *, is_advised: bool
) -> None:
    grants = await send(
        console,
        "grants/new",
        group="platform",
        role="viewer",
        environments="local",
        prefix=prefix,
        reason="They own it",
    )

    page = await read(console, grants.removeprefix("/console/"))

    assert ("write payments/ for this folder alone" in page) is is_advised


async def test_latest_changes_of_a_person_have_their_messages(
    service: Service, console: ClientSession
) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    await give(service, "platform", "editor")
    path = "/v1/environments/local/configurations/sale"
    body = {"kind": "flag", "value": flag(defaultVariant="on")}
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201, await answer.text()
    async with browser_of(service, asha.text) as browser:
        switch = "environments/local/flag-switch/sale"
        await send(browser, switch, version=1, to="off", message="For the sale")

    page = parse_html(await read(console, f"people/{asha.person.id}"))

    assert "For the sale" in page.one("main", id="main").text


async def test_refusal_is_titled_in_words(service: Service) -> None:
    asha = await sign_in_person(service, "asha", "platform")
    await give(service, "platform", "viewer")

    async with browser_of(service, asha.text) as browser:
        page = parse_html(await read(browser, "grants", status=403))

    assert page.one("h1").text == "You may not do this"


async def test_group_without_a_role_leads_to_its_grant(
    service: Service, console: ClientSession
) -> None:
    await sign_in_person(service, "asha", "platform")

    groups = parse_html(await read(console, "groups"))
    (link,) = groups.one("tbody").all("a", href="/console/grants/new?group=platform")
    form = parse_html(await read(console, link["href"].removeprefix("/console/")))

    assert form.all("input", name="group")[0]["value"] == "platform"


async def test_own_rights_have_reasons(service: Service) -> None:
    signed_in = await sign_in_person(service, "asha", "platform")
    await give(service, "platform", "editor", prefix="shop/")

    async with browser_of(service, signed_in.text) as browser:
        page = await read(browser, "me")

    assert "Group platform:" in page
    assert "<code>shop/</code>" in page


async def test_people_of_one_name_have_their_ids(service: Service, console: ClientSession) -> None:
    first = (await sign_in_person(service, "a", name="Asha Mwangi")).person
    second = (await sign_in_person(service, "b", name="Asha Mwangi")).person

    page = await read(console, "people")

    assert f'<span class="muted small">{first.actor}</span>' in page
    assert f'<span class="muted small">{second.actor}</span>' in page


@pytest.mark.parametrize("path", ["people", "grants", "roles", "projects", "groups"])
async def test_reader_gets_no_page_of_access(service: Service, path: str) -> None:
    async with service.signed_in(await service.token(Scope.READ, Scope.WRITE)) as browser:
        await read(browser, path, status=403)


async def test_author_leads_to_the_person(service: Service, console: ClientSession) -> None:
    signed_in = await sign_in_person(service, "asha")
    await give(service, signed_in.person, "admin")
    async with browser_of(service, signed_in.text) as browser:
        await send(browser, "grants/new", group="x", role="viewer", environments="*", reason="y")

    history = await read(console, "grants/history")

    path = f"/console/people/{signed_in.person.id}"
    assert f'<a href="{path}" title="{signed_in.person.actor}">Asha</a>' in history
