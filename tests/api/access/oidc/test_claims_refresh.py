"""Refreshing the claims of sessions: groups that are lost, tokens that rotate, providers away."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from app.access.guard import ACCESS_LOG
from app.access.oidc.refresh import ClaimsRefresh
from app.access.oidc.stored_tokens import REFRESH_SECONDS, next_refresh
from app.errors import Unavailable
from app.http.keys import DATABASE
from tests.api.access.oidc.conftest import Browser, Installation
from tests.api.access.oidc.test_provider_faults import text_of

GROUPS = "select groups from flagstone.people"


async def test_lost_groups_and_a_new_name_are_stored(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.claims |= {"groups": ["other"], "name": "Asha O."}
    await installation.refresh_now()

    assert installation.rows("select groups, name from flagstone.people") == [
        (["other"], "Asha O.")
    ]
    assert await browser.is_signed_in()


async def test_claims_are_refreshed_within_the_hour(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    ((seconds,),) = installation.rows(
        "select extract(epoch from refresh_at - current_timestamp)::float "
        "from flagstone.oidc_sessions"
    )

    assert isinstance(seconds, float)
    assert 2_400 < seconds <= REFRESH_SECONDS
    assert 2_400 < next_refresh() <= REFRESH_SECONDS
    await installation.refresh.run_once()
    assert installation.provider.calls.count("/token") == 1


async def test_rotated_refresh_token_is_used_next_time(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    for _ in range(3):
        await installation.refresh_now()

    assert len(installation.provider.refresh_tokens) == 1
    assert await browser.is_signed_in()


async def test_refresh_token_is_stored_sealed(installation: Installation, browser: Browser) -> None:
    await browser.sign_in()
    ((sealed,),) = installation.rows("select sealed from flagstone.oidc_sessions")

    (token,) = installation.provider.refresh_tokens
    assert isinstance(sealed, bytes)
    assert token.encode() not in sealed
    assert b"eyJ" not in sealed


async def test_subject_changed_by_hand_ends_the_session(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.cleaner.execute("update flagstone.people set subject = 'other'")

    await installation.refresh_now()

    assert ("session_expired", "allowed", "system:oidc", "oidc: person_unsigned") in (
        await installation.log()
    )


async def test_tokens_of_another_row_end_the_session(
    installation: Installation, browser: Browser
) -> None:
    """Write access to the database gives no session the tokens of another person."""
    await browser.sign_in()
    async with installation.browser() as other:
        installation.provider.claims |= {"sub": "u-2"}
        await other.sign_in()
        installation.cleaner.execute(
            "update flagstone.oidc_sessions set sealed = "
            "(select sealed from flagstone.oidc_sessions where subject = 'u-2')"
        )
        await installation.refresh_now()

        assert await other.is_signed_in()
        assert not await browser.is_signed_in()


async def test_session_that_the_provider_ended_ends(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.refresh_tokens.clear()
    await installation.refresh_now()

    assert not await browser.is_signed_in()
    assert ("session_expired", "allowed", "system:oidc", "oidc: ended by the provider") in (
        await installation.log()
    )
    # The next run deletes what is of no use any more.
    await installation.refresh.run_once()
    assert installation.rows("select 1 from flagstone.oidc_sessions") == []


@pytest.mark.parametrize("status", [500, 503, 400])
async def test_session_stays_while_the_provider_fails(
    installation: Installation, browser: Browser, status: int
) -> None:
    await browser.sign_in()
    installation.provider.answers["/token"] = text_of('{"error": "server_error"}', status=status)
    await installation.refresh_now()

    assert await browser.is_signed_in()
    assert installation.rows(GROUPS) == [(["platform"],)]
    assert installation.sign_in.provider.failure
    installation.provider.answers.clear()
    installation.provider.claims["groups"] = []
    await installation.refresh_now()
    assert installation.rows(GROUPS) == [([],)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sub": "u-2"}, "another person"),
        ({"nonce": "other"}, "nonce"),
        ({"aud": "other"}, "another application"),
        ({"groups": 1}, "OIDC_GROUPS_CLAIM"),
    ],
)
async def test_answer_that_fails_a_check_ends_the_session(
    installation: Installation, browser: Browser, changes: dict[str, Any], reason: str
) -> None:
    await browser.sign_in()
    installation.provider.id_token_changes = changes
    await installation.refresh_now()

    assert not await browser.is_signed_in()
    assert any(reason in str(detail) for *_, detail in await installation.log())
    assert installation.rows(GROUPS) == [(["platform"],)]


async def test_refreshed_id_token_may_lack_the_nonce(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.id_token_changes = {"nonce": None}
    installation.provider.claims["groups"] = ["other"]
    await installation.refresh_now()

    assert installation.rows(GROUPS) == [(["other"],)]


async def test_refresh_without_an_id_token_asks_userinfo(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.sends_id_token_at_refresh = False
    installation.provider.claims["groups"] = ["other"]
    await installation.refresh_now()

    assert installation.rows(GROUPS) == [(["other"],)]


async def test_userinfo_without_a_name_leaves_that_of_the_id_token(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.sends_id_token_at_refresh = False
    installation.provider.answers["/userinfo"] = text_of('{"sub": "u-1", "groups": ["other"]}')
    await installation.refresh_now()

    assert installation.rows("select groups, name, email from flagstone.people") == [
        (["other"], "Asha Otieno", "asha@example.org")
    ]


async def test_userinfo_without_groups_leaves_those_of_the_id_token(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.sends_id_token_at_refresh = False
    del installation.provider.claims["groups"]
    await installation.refresh_now()

    assert installation.rows(GROUPS) == [(["platform"],)]


async def test_rotated_key_at_a_refresh_is_read_again(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.oidc.provider.KEYS_PAUSE_SECONDS", 0.0)
    await browser.sign_in()
    installation.provider.rotate("k2")
    installation.provider.claims["groups"] = ["other"]
    await installation.refresh_now()

    assert installation.rows(GROUPS) == [(["other"],)]


async def test_key_that_is_not_published_yet_ends_no_session(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.provider.rotate("k2")
    await installation.refresh_now()

    assert await browser.is_signed_in()


async def test_session_without_a_refresh_token_stays(
    installation: Installation, browser: Browser
) -> None:
    installation.provider.gives_refresh_token = False
    await browser.sign_in()
    await installation.refresh_now()

    assert await browser.is_signed_in()
    assert installation.provider.calls.count("/token") == 1


async def test_instances_at_once_refresh_a_session_once(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    app = installation.service.app
    others = [ClaimsRefresh(app[DATABASE], installation.sign_in, app[ACCESS_LOG]) for _ in range(3)]
    installation.cleaner.execute(
        "update flagstone.oidc_sessions set refresh_at = current_timestamp"
    )
    await asyncio.gather(*(other.run_once() for other in others))

    assert installation.provider.calls.count("/token") == 2


async def test_rotated_token_is_stored_before_the_answer_is_used(
    installation: Installation, browser: Browser
) -> None:
    """The userinfo endpoint is down when the token endpoint has rotated the token."""
    installation.provider.userinfo_only = frozenset({"groups"})
    await browser.sign_in()
    installation.provider.answers["/userinfo"] = text_of("", status=500)
    await installation.refresh_now()
    installation.provider.answers.clear()
    installation.provider.claims["groups"] = ["other"]
    await installation.refresh_now()

    assert installation.rows(GROUPS) == [(["other"],)]
    assert await browser.is_signed_in()


async def test_ended_and_idle_sessions_are_not_refreshed(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.cleaner.execute(
        "update flagstone.sessions set last_seen_at = current_timestamp - interval '3 hours'"
    )
    await installation.refresh_now()

    assert installation.provider.calls.count("/token") == 1


async def test_expired_uses_are_deleted(installation: Installation) -> None:
    installation.cleaner.execute(
        "insert into flagstone.oidc_uses (id, expires_at) values "
        "(repeat('0', 64), current_timestamp - interval '1 second'), "
        "(repeat('1', 64), current_timestamp + interval '1 minute')"
    )

    await installation.refresh.run_once()

    assert installation.rows("select left(id, 1) from flagstone.oidc_uses") == [("1",)]


async def test_session_of_another_issuer_ends_without_a_call(
    installation: Installation, browser: Browser
) -> None:
    """OIDC_ISSUER has changed: the refresh token of one provider is not sent to another."""
    await browser.sign_in()
    component = installation.sign_in.provider
    component.audience = replace(component.audience, issuer="https://other.example")
    await installation.refresh_now()

    assert not await browser.is_signed_in()
    assert installation.provider.calls.count("/token") == 1


async def test_person_whose_row_was_changed_loses_the_session(
    installation: Installation, browser: Browser
) -> None:
    await browser.sign_in()
    installation.cleaner.execute("update flagstone.people set suspended_at = current_timestamp")
    await installation.refresh_now()

    # The refresh token is deleted.
    assert installation.rows("select 1 from flagstone.oidc_sessions") == []
    assert not await browser.is_signed_in()


async def test_rotated_token_is_stored_after_the_database_is_back(
    installation: Installation, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.sign_in()
    store, failures = installation.refresh.store, 3
    update = store.update

    async def fail_first(*arguments: Any, **named: Any) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Unavailable("database_away", "away")
        await update(*arguments, **named)

    monkeypatch.setattr(store, "update", fail_first)
    await installation.refresh_now()
    monkeypatch.undo()
    await installation.refresh_now()

    assert failures < 0
    assert installation.provider.calls.count("/token") == 3
    assert await browser.is_signed_in()


@pytest.mark.parametrize("at_sign_in", ["newer", "older"])
async def test_answer_from_before_a_sign_in_is_asked_for_again(
    installation: Installation, browser: Browser, at_sign_in: str
) -> None:
    """Which of both answers is newer is not known, so the provider is asked once more."""
    await browser.sign_in()
    provider = installation.provider
    provider.claims["groups"] = ["stale" if at_sign_in == "newer" else "newest"]

    async def answer_after_a_sign_in(request: web.Request) -> web.StreamResponse:
        answer = await provider.answer_token(request)
        provider.answers.clear()
        provider.claims["groups"] = ["newest" if at_sign_in == "newer" else "stale"]
        async with installation.browser() as other:
            await other.sign_in()
        provider.claims["groups"] = ["newest"]
        return answer

    provider.answers["/token"] = answer_after_a_sign_in
    await installation.refresh_now()

    assert installation.rows(GROUPS) == [(["newest"],)]
    results = installation.sign_in.provider.results
    assert (results["refresh", "superseded"], results["refresh", "ok"]) == (1, 1)
    assert await browser.is_signed_in()


async def test_dropped_answer_overwrites_no_claims(
    installation: Installation, browser: Browser, capfd: pytest.CaptureFixture[str]
) -> None:
    await browser.sign_in()
    provider = installation.provider
    provider.claims["groups"] = ["stale"]

    async def answer_after_a_sign_in(request: web.Request) -> web.StreamResponse:
        answer = await provider.answer_token(request)
        provider.claims["groups"] = ["newest"]
        provider.answers.clear()
        async with installation.browser() as other:
            await other.sign_in()
        # It cannot be asked again.
        provider.answers["/token"] = text_of("", status=500)
        return answer

    provider.answers["/token"] = answer_after_a_sign_in
    await installation.refresh_now()

    assert installation.rows(GROUPS) == [(["newest"],)]
    assert "oidc_answer_dropped" in "".join(capfd.readouterr())
    # The new refresh token of the dropped answer is stored.
    provider.answers.clear()
    provider.claims["groups"] = ["last"]
    await installation.refresh_now()
    assert installation.rows(GROUPS) == [(["last"],)]


async def test_refresh_of_claims_is_no_sign_in(
    installation: Installation, browser: Browser
) -> None:
    query = "select last_seen_at, claims_at > last_seen_at from flagstone.people"
    await browser.sign_in()
    ((first, _),) = installation.rows(query)
    await installation.refresh_now()

    assert installation.rows(query) == [(first, True)]
    async with installation.browser() as other:
        await other.sign_in()
    ((second, is_older),) = installation.rows(query)
    assert (second != first, is_older) == (True, False)
