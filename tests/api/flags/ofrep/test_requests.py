"""Requests: paths, keys, tokens. Cn is a line of OFREP's checklist."""

import asyncio
import json
from dataclasses import replace

import pytest

from app.access.models import Scope
from tests.api.flags.ofrep.conftest import BY_PLAN, FAILING, FLAGS, LOCAL, SWITCH, Client

PRO = {"context": {"targetingKey": "u", "plan": "pro"}}


@pytest.mark.parametrize("key", ["shop/title", "shop%2Ftitle", "shop%2ftitle", "sh%6Fp/title"])
async def test_c1_a_key_is_percent_decoded(ofrep: Client, key: str) -> None:
    await ofrep.put("shop/title", SWITCH)

    answer = await ofrep.one(key, {})

    assert (answer.status, answer.body["key"]) == (200, "shop/title")


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("a:b", "a:b"),
        ("a%3Ab", "a:b"),
        ("a%20b", "a b"),
        ("gr%C3%BC%C3%9Fe", "grüße"),
        ("%F0%9F%9A%A9", "🚩"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("%25", "%"),
        ("100%2525", "100%25"),
        ("%22quoted%22", '"quoted"'),
        ("a%0Ab", "a\nb"),
        ("%00", "\0"),
        ("", ""),
        ("/", "/"),
        ("a/", "a/"),
        ("k" * 4_000, "k" * 4_000),
    ],
)
async def test_c1_c16_impossible_key_is_not_found_and_echoed(
    ofrep: Client, sent: str, key: str
) -> None:
    answer = await ofrep.one(sent, {})

    assert (answer.status, answer.body["errorCode"]) == (404, "FLAG_NOT_FOUND")
    assert answer.body["key"] == key


@pytest.mark.parametrize("key", [b"%FF", b"%ED%A0%80", b"\xff", b"a%C3"])
async def test_undecodable_key_is_not_found(ofrep: Client, key: bytes) -> None:
    reader, writer = await asyncio.open_connection(*ofrep.address)
    writer.write(ofrep.head(f"{FLAGS}/{key.decode(errors='surrogateescape')}"))

    received = await reader.read()

    writer.close()
    status = int(received[9:12])
    assert status in {400, 404}
    if status == 404:
        assert json.loads(received.partition(b"\r\n\r\n")[2])["errorCode"] == "FLAG_NOT_FOUND"


async def test_c2_c6_all_flags_are_asked_for_without_a_list(ofrep: Client) -> None:
    for key in ("b", "a", "c"):
        await ofrep.put(key, SWITCH)
    await ofrep.put("no-flag", 1, kind="setting")

    answer = await ofrep.all({"context": {}, "flags": ["a"]})

    assert (answer.status, list(answer.flags)) == (200, ["a", "b", "c"])


async def test_c5_every_path_takes_an_environment_prefix(ofrep: Client) -> None:
    await ofrep.put("plan", BY_PLAN)
    below = replace(ofrep, base=LOCAL)

    answers = [await below.one("plan", PRO), await below.all(PRO)]

    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body["value"] is answers[1].flags["plan"]["value"] is True


@pytest.mark.parametrize("key", ["plan", "unknown"])
async def test_c19_request_without_token_learns_nothing(ofrep: Client, key: str) -> None:
    await ofrep.put("plan", BY_PLAN)
    stranger = replace(ofrep, token="")

    answer = await stranger.one(key, b"nonsense")

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="flagstone"')
    assert (answer.body["key"], answer.body["errorCode"]) == (key, "GENERAL")


async def test_c19_a_token_of_another_scope_or_environment_is_403(ofrep: Client) -> None:
    service = ofrep.service
    reader = replace(ofrep, token=await service.token(Scope.READ, environments=("local",)))
    evaluate = await service.token(Scope.EVALUATE, environments=("staging",))
    foreigner = replace(ofrep, token=evaluate, base=LOCAL)

    answers = [await reader.one("x"), await reader.all(), await foreigner.one("x")]

    assert [answer.status for answer in answers] == [403, 403, 403]
    assert {answer.body["errorCode"] for answer in answers} == {"GENERAL"}


async def test_token_of_several_environments_must_name_one(ofrep: Client) -> None:
    token = await ofrep.service.token(Scope.EVALUATE, environments=("local", "staging"))
    several = replace(ofrep, token=token)
    named = replace(several, base=LOCAL)

    ambiguous, answered = await several.all(), await named.all()

    assert (ambiguous.status, answered.status) == (400, 200)
    assert "/v1/environments/ENVIRONMENT" in ambiguous.body["errorDetails"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_c37_bearer_in_any_case_and_api_key_are_accepted(ofrep: Client, scheme: str) -> None:
    stranger = replace(ofrep, token="")

    bearer = await stranger.all(headers={"Authorization": f"{scheme} {ofrep.token}"})
    key = await stranger.all(headers={"X-API-Key": ofrep.token})

    assert (bearer.status, key.status) == (200, 200)


async def test_failing_flag_is_400_with_any_context(ofrep: Client) -> None:
    await ofrep.put_unchecked("failing", FAILING)

    answer = await ofrep.one("failing", PRO)

    assert (answer.status, answer.body["errorCode"]) == (400, "GENERAL")
