"""The pages of tokens, sessions and the access log."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession

from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import Scope
from app.configuration.snapshots.reading import FOLLOWER
from app.console.access.views import browser_words
from app.database import Database
from app.http.keys import DATABASE
from app.settings import Settings
from tests.api.console.page_forms import form_fields
from tests.conftest import Admin, Service
from tests.factories import flag

TOKENS_PAGE, NEW, SESSIONS, LOG = (
    "/console/tokens",
    "/console/tokens/new",
    "/console/sessions",
    "/console/access-log",
)
CHANGE_SET = "/console/environments/local/changes/1"
FORM = {"name": "ci", "scopes": "read", "environments": "local", "expires_days": "30"}


async def read(browser: ClientSession, path: str, status: int = 200) -> str:
    async with browser.get(path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.text()


async def send(browser: ClientSession, path: str, form: Any = None, status: int = 200) -> str:
    """Post a form, and return the page; after a redirect its address."""
    async with browser.post(path, data=form or {"": ""}, allow_redirects=False) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return answer.headers.get("Location", "") if status == 303 else text


def text_of(page: str) -> str:
    """Return the token that a page shows."""
    match = re.search(r"fs_(?:srv|adm)_[0-9A-Za-z]{13}_[0-9A-Za-z]{49}", page)
    assert match is not None
    return match[0]


async def listed(service: Service) -> list[dict[str, Any]]:
    async with service.client.get("/v1/tokens") as answer:
        items: list[dict[str, Any]] = (await answer.json())["items"]
        return items


async def test_new_token_is_shown_once_and_works(service: Service, console: ClientSession) -> None:
    page = await send(console, NEW, FORM)

    token = text_of(page)
    assert "Copy it now." in page
    headers = {"Authorization": f"Bearer {token}"}
    async with service.stranger.get("/v1/environments/local", headers=headers) as answer:
        assert answer.status == 200
    (created,) = [item for item in await listed(service) if item["name"] == "ci"]
    assert (created["scopes"], created["environments"]) == (["read"], ["local"])
    expires_at = datetime.fromisoformat(created["expires_at"])
    assert timedelta(days=29) < expires_at - datetime.now(UTC) < timedelta(days=31)
    overview = await read(console, TOKENS_PAGE)
    assert "ci" in overview
    assert token not in overview


async def test_example_of_an_evaluating_token_names_its_environment(
    service: Service, console: ClientSession
) -> None:
    form = FORM | {"scopes": "evaluate", "environments": "staging"}
    one = html.unescape(await send(console, NEW, form))
    both = html.unescape(await send(console, NEW, [*form.items(), ("environments", "local")]))

    assert f"curl {service.url}/ofrep/v1/evaluate/flags \\\n" in one
    assert f"curl {service.url}/v1/environments/local/ofrep/v1/evaluate/flags \\\n" in both


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": ""}, "must be 1 to 200 printable characters"),
        ({"name": "a\u202eb"}, "must be 1 to 200 printable characters"),
        ({"scopes": ""}, "must be among evaluate"),
        ({"environments": "nowhere"}, "must be * or among"),
        ({"expires_days": "x"}, "must be a whole number"),
        ({"expires_days": "99999"}, "must be from 1 to"),
    ],
)
async def test_refused_token_keeps_the_form(
    service: Service, console: ClientSession, change: dict[str, str], rule: str
) -> None:
    page = html.unescape(await send(console, NEW, FORM | {"name": "<b>ci"} | change, 422))

    assert rule in page
    assert "Not saved." in page
    assert "name" in change or 'value="<b>ci"' in page
    assert all(item["name"] != "<b>ci" for item in await listed(service))


async def test_link_of_a_flag_fills_in_the_new_token(
    service: Service, console: ClientSession
) -> None:
    body = {"kind": "flag", "value": flag()}
    path = "/v1/environments/local/configurations/checkout"
    async with service.client.put(path, json=body, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201, await answer.text()
    await service.app[FOLLOWER].refresh()
    use = await read(console, "/console/environments/local/flag-use/checkout")
    link = re.search(r'href="(/console/tokens/new[^"]*)"', use)
    assert link is not None

    fields = form_fields(await read(console, html.unescape(link[1])), "new-token")
    created = await send(console, NEW, fields)

    chosen = {"name": "my-program", "scopes": "evaluate", "environments": "local"}
    assert chosen.items() <= set(fields)
    assert 'href="/console/environments/local/flags/checkout?view=use"' in created
    assert "export FLAGSTONE_TOKEN=" in created
    assert "export FLAGSTONE_TOKEN=" in use


async def test_new_token_leads_to_pages_of_the_console_only(console: ClientSession) -> None:
    page = await send(console, NEW, FORM | {"next": "https://example.org/"})

    assert "example.org" not in page


async def test_page_of_a_limited_token_says_for_which_keys(
    console: ClientSession,
) -> None:
    page = await send(console, NEW, FORM | {"prefixes": " shop/\r\n\r\npay/"})
    id_ = text_of(page).split("_")[2]

    assert "with the prefix pay/ or shop/" in page
    shown = await read(console, f"{TOKENS_PAGE}/{id_}")
    assert (
        "<strong>local</strong>, for <strong>keys with the prefix pay/ or shop/</strong>" in shown
    )
    assert "<code>pay/</code>, <code>shop/</code>" in await read(console, TOKENS_PAGE)
    refused = await send(console, NEW, FORM | {"prefixes": "/shop"}, 422)
    assert "each must be empty for all keys, or begin with a letter" in refused
    assert "/shop</textarea>" in refused


async def test_administrator_of_some_keys_manages_their_tokens(service: Service) -> None:
    own = await service.token(Scope.READ, Scope.ADMIN, prefixes=("shop/",))
    await service.token(Scope.READ, prefixes=("pay/",))
    async with service.signed_in(own) as browser:
        assert "shop/</textarea>" in await read(browser, NEW)
        assert "pay/" not in await read(browser, TOKENS_PAGE)
        await send(browser, NEW, FORM | {"prefixes": "shop/cart"})
        refused = await send(browser, NEW, FORM | {"prefixes": ""}, 403)
        assert "must be among the caller" in refused


async def test_token_name_is_escaped(console: ClientSession) -> None:
    await send(console, NEW, FORM | {"name": "<script>alert(1)</script>"})

    page = await read(console, TOKENS_PAGE)

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


async def test_administrator_cannot_grant_more_than_they_have(service: Service) -> None:
    token = await service.token(Scope.READ, Scope.ADMIN, environments=("local",))
    async with service.signed_in(token) as browser:
        for change in ({"scopes": "write"}, {"environments": "*"}, {"environments": "staging"}):
            page = await send(browser, NEW, FORM | change, 403)
            assert "must be among the caller" in page
        page = await read(browser, NEW)

    assert 'value="write"' not in page
    assert 'value="*"' not in page


async def test_rotation_shows_the_new_token(service: Service, console: ClientSession) -> None:
    old = await service.token(Scope.READ)
    path = f"{TOKENS_PAGE}/{old.split('_')[2]}"
    assert "Rotate" in await read(console, path)

    page = await send(console, f"{path}/rotate", {"grace_seconds": "3600"})

    service.app[TOKENS].authenticate(text_of(page))
    service.app[TOKENS].authenticate(old)
    assert "Replaced by" in await read(console, path)
    again = await send(console, f"{path}/rotate", {"grace_seconds": "0"}, 409)
    assert "was already replaced" in again


async def test_revoked_token_is_listed_as_revoked(service: Service, console: ClientSession) -> None:
    token_id = (await service.token(Scope.READ)).split("_")[2]

    address = await send(console, f"{TOKENS_PAGE}/{token_id}/revoke", status=303)

    page = await read(console, address)
    assert f"Revoked <code>{token_id}</code>" in page
    assert "revoked</span>" in page
    details = await read(console, f"{TOKENS_PAGE}/{token_id}")
    assert "Revoke the token" not in details


async def test_revoking_the_own_token_signs_out(service: Service) -> None:
    token = await service.token(Scope.READ, Scope.ADMIN)
    async with service.signed_in(token) as browser:
        path = f"{TOKENS_PAGE}/{token.split('_')[2]}"
        assert "Your session ends with it." in await read(browser, path)

        address = await send(browser, f"{path}/revoke", status=303)

        async with browser.get(address, allow_redirects=False) as answer:
            assert "/console/sign-in" in answer.headers["Location"]


@pytest.mark.parametrize("path", [f"{TOKENS_PAGE}/0123456789abc", f"{TOKENS_PAGE}/x"])
async def test_unknown_token_is_not_found(console: ClientSession, path: str) -> None:
    assert "There is no such token." in await read(console, path, 404)


async def test_pages_of_a_reader_say_what_they_need(service: Service) -> None:
    async with service.signed_in(await service.token(Scope.READ)) as browser:
        for path in (TOKENS_PAGE, LOG, NEW):
            assert "This needs the scope admin" in await read(browser, path, 403)
        await send(browser, NEW, FORM, 403)
        page = await read(browser, SESSIONS)

    assert page.count("this browser") == 1


async def test_one_session_can_be_ended_from_another(
    service: Service, console: ClientSession
) -> None:
    async with service.signed_in(service.admin_token) as other:
        page = await read(console, SESSIONS)
        assert page.count('aria-label="Sign out ') == 2
        paths = set(re.findall(r'action="(/console/sessions/\w{13}/end)"', page))
        own = re.findall(r'action="(/console/sessions/\w{13}/end)"', await read(other, SESSIONS))
        assert paths == set(own)
        first = await read(other, SESSIONS)
        current = first.index("this browser")
        path = next(p for p in own if first.index(p) > current)

        # The other browser's own session: it signs out there.
        address = await send(console, path, status=303)
        assert "The session has ended" in await read(console, address)

        async with other.get(SESSIONS, allow_redirects=False) as answer:
            assert "/console/sign-in" in answer.headers["Location"]


async def test_signing_out_everywhere_counts_other_names(
    service: Service, console: ClientSession
) -> None:
    async with service.signed_in(await service.token(Scope.READ)):
        address = await send(console, f"{SESSIONS}/end", status=303)

    assert address.endswith("/console/signed-out?sessions=1&others=1")
    page = await read(console, address)
    assert "1 session ended: all of yours" in page
    assert 'under other names: 1 session. <a href="/console/sessions">' in page


async def test_signing_out_everywhere_clears_this_browser(
    service: Service, console: ClientSession
) -> None:
    async with service.signed_in(service.admin_token) as other:
        assert "all your sessions, in every browser: 2." in await read(console, SESSIONS)
        address = await send(console, f"{SESSIONS}/end", status=303)
        assert address.endswith("/console/signed-out?sessions=2")
        assert "2 sessions ended: all of yours" in await read(console, address)

        for browser in (console, other):
            async with browser.get(SESSIONS, allow_redirects=False) as answer:
                assert answer.status == 303


async def test_access_log_is_filtered_and_paged(
    service: Service, console: ClientSession, cleaner: Admin
) -> None:
    await service.app[ACCESS_LOG].run_once()
    cleaner.execute(
        "insert into flagstone.access_log (event, decision, actor, environment, detail) "
        "select 'authz_fail', 'refused', 'token:x', 'local', '<i>' || n "
        "from generate_series(1, 130) as n"
    )

    page = await read(console, f"{LOG}?event=authz_fail&environment=local")
    assert page.count("&lt;i&gt;") == 100
    assert "Signed in</th>" not in page
    match = re.search(r'hx-get="([^"]+before=\d+)"', page)
    assert match is not None
    rest = html.unescape(match[1])

    async with console.get(rest, headers={"HX-Request": "true"}) as answer:
        rows = await answer.text()
    assert rows.count("&lt;i&gt;") == 30
    assert "<html" not in rows
    assert "Nothing found" in await read(console, f"{LOG}?event=backup_restored")
    await read(console, f"{LOG}?event=nonsense", 400)


async def test_access_log_of_a_foreign_environment_is_refused(service: Service) -> None:
    token = await service.token(Scope.READ, Scope.ADMIN, environments=("local",))
    async with service.signed_in(token) as browser:
        await read(browser, LOG)
        await read(browser, f"{LOG}?environment=production", 403)


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/148.0 Safari/537.36",
         "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/148.0 Safari/537.36 Edg/148.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:150.0) Firefox/150.0",
         "Firefox on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1",
         "Safari on iPhone"),
        ("curl/8.5.0", "curl"),
        ("", "Unknown browser"),
        ("<script>", "Unknown browser"),
    ],
)  # fmt: skip
def test_browser_is_named_in_words(user_agent: str, words: str) -> None:
    assert browser_words(user_agent) == words


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (TOKENS_PAGE, "The tokens cannot be read:"),
        (SESSIONS, "The sessions cannot be read:"),
        (LOG, "The access log cannot be read:"),
        ("/console/schema", "The ledger cannot be read:"),
    ],
)
async def test_page_without_database_says_so(
    service: Service, console: ClientSession, settings: Settings, path: str, text: str
) -> None:
    with service.using(DATABASE, Database(settings.database)):
        page = await read(console, path, 503)

    assert text in page
    assert "Try again when the database is back." in page


async def test_author_leads_administrators_to_the_token(
    service: Service, console: ClientSession
) -> None:
    author = await _write_as(service, "Amina")

    page = await read(console, CHANGE_SET)
    async with service.signed_in(await service.token(Scope.READ)) as reader:
        plain = await read(reader, CHANGE_SET)

    assert f'<a href="{TOKENS_PAGE}/{author}" title="token:{author}">Amina</a>' in page
    assert f'<span title="token:{author}">Amina</span>' in plain


async def test_author_has_a_name_after_its_token_ends(
    service: Service, console: ClientSession
) -> None:
    author = await _write_as(service, "Amina")
    await send(console, f"{TOKENS_PAGE}/{author}/revoke", status=303)

    changes = await read(console, "/console/environments/local/changes")

    assert f'title="token:{author}">Amina</a>' in changes
    assert f'<option value="token:{author}">Amina</option>' in changes


async def test_authors_of_one_name_have_their_ids(service: Service, console: ClientSession) -> None:
    author = await _write_as(service, "Amina")
    shared = f'Amina</a> <span class="muted">token:{author}</span>'
    assert shared not in await read(console, "/console/environments/local/changes")

    await _write_as(service, "Amina")

    assert shared in await read(console, "/console/environments/local/changes")


async def _write_as(service: Service, name: str) -> str:
    """Change a setting with a new token of this name, and return its ID."""
    body = {"name": name, "scopes": ["write"], "environments": ["*"]}
    async with service.client.post("/v1/tokens", json=body) as answer:
        issued = await answer.json()
    path = f"/v1/environments/local/configurations/{issued['token']['id']}"
    headers = {"X-API-Key": issued["text"], "If-None-Match": "*"}
    async with service.stranger.put(path, json={"value": 1}, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
    return str(issued["token"]["id"])
