"""The stock OpenFeature SDK of Python with its OFREP provider, against the running service.

It blocks and evaluates one flag at a time, so it runs in a thread.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from app.access.models import Scope
from tests.api.flags.ofrep.conftest import BY_PLAN, FAILING, LOCAL, SWITCH, Client

PRO = EvaluationContext("user-1", {"plan": "pro", "deep": {"a": [1, "b"]}})


@dataclass(frozen=True)
class Sdk:
    """An OpenFeature client whose blocking calls run in a thread."""

    client: OpenFeatureClient

    async def get(
        self, kind: str, key: str, default: Any, context: EvaluationContext | None = None
    ) -> FlagEvaluationDetails[Any]:
        ask = getattr(self.client, f"get_{kind}_details")
        details: FlagEvaluationDetails[Any] = await asyncio.to_thread(ask, key, default, context)
        return details


@pytest.fixture
def sdk(ofrep: Client) -> Iterator[Callable[..., Sdk]]:
    providers: list[OFREPProvider] = []

    def connect(base: str = "", **headers: str) -> Sdk:
        headers = headers or {"Authorization": f"Bearer {ofrep.token}"}
        provider = OFREPProvider(ofrep.service.url + base, headers_factory=lambda: headers)
        api.set_provider(provider, domain := f"test-{len(providers)}")
        providers.append(provider)
        return Sdk(api.get_client(domain))

    yield connect
    for provider in providers:
        provider.session.close()
    api.clear_providers()


@pytest.mark.parametrize(
    ("kind", "value", "default"),
    [
        ("boolean", True, False),
        ("boolean", False, True),
        ("string", "ü 🚩", ""),
        ("integer", 2**53 - 1, 0),
        ("float", 1.0, 0.0),
        ("float", -0.25, 0.0),
        ("object", {"a": [1, {"b": None}]}, {}),
    ],
)
async def test_every_type_arrives(
    ofrep: Client, sdk: Callable[..., Sdk], kind: str, value: Any, default: Any
) -> None:
    flag = {"state": "ENABLED", "variants": {"it": value}, "defaultVariant": "it"}
    await ofrep.put("typed", flag | {"metadata": {"owner": "shop", "cost": 1.5}})

    details = await sdk().get(kind, "typed", default)

    assert (details.value, type(details.value)) == (value, type(value))
    assert (details.reason, details.variant, details.error_code) == (Reason.STATIC, "it", None)
    assert details.flag_metadata == {"owner": "shop", "cost": 1.5}


async def test_context_decides_and_may_be_missing(ofrep: Client, sdk: Callable[..., Sdk]) -> None:
    await ofrep.put("shop/plan", BY_PLAN)
    client = sdk()

    evaluations = [
        await client.get("boolean", "shop/plan", False, context)
        for context in (PRO, EvaluationContext("user-2"), EvaluationContext(), None)
    ]

    assert [details.value for details in evaluations] == [True, False, False, False]
    assert evaluations[0].reason == Reason.TARGETING_MATCH
    assert {details.reason for details in evaluations[1:]} == {Reason.DEFAULT}
    assert {details.error_code for details in evaluations} == {None}


async def test_missing_failing_or_mistyped_flag_gives_the_default(
    ofrep: Client, sdk: Callable[..., Sdk]
) -> None:
    await ofrep.put_unchecked("failing", FAILING)
    await ofrep.put("text", SWITCH | {"variants": {"on": "yes", "off": "no"}})
    client = sdk()

    unknown = await client.get("boolean", "nothing", True)
    failing = await client.get("boolean", "failing", True)
    mismatch = await client.get("boolean", "text", True)

    assert {details.value for details in (unknown, failing, mismatch)} == {True}
    assert unknown.error_code == ErrorCode.FLAG_NOT_FOUND
    assert (failing.error_code, failing.error_message) == (
        ErrorCode.GENERAL,
        "The rule's outcome is no variant of the flag.",
    )
    assert mismatch.error_code == ErrorCode.TYPE_MISMATCH


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"state": "DISABLED"}, Reason.DISABLED), ({"defaultVariant": None}, Reason.DEFAULT)],
)
async def test_python_client_without_a_value_uses_its_default(
    ofrep: Client, sdk: Callable[..., Sdk], change: dict[str, Any], reason: Reason
) -> None:
    await ofrep.put("off", SWITCH | change)

    details = await sdk().get("boolean", "off", True)

    assert (details.value, details.reason, details.error_code) == (True, reason, None)


async def test_tokens_of_every_kind_are_shown(ofrep: Client, sdk: Callable[..., Sdk]) -> None:
    await ofrep.put("plan", BY_PLAN)
    of_all = await ofrep.service.token(Scope.EVALUATE)

    by_key = await sdk(**{"X-API-Key": ofrep.token}).get("boolean", "plan", False, PRO)
    below = await sdk(LOCAL, Authorization=f"Bearer {of_all}").get("boolean", "plan", False, PRO)
    wrong = await sdk(Authorization="Bearer nonsense").get("boolean", "plan", False, PRO)
    foreign = await sdk("/v1/environments/staging").get("boolean", "plan", False, PRO)

    assert (by_key.value, below.value) == (True, True)
    assert (wrong.value, wrong.error_code, wrong.error_message) == (
        False,
        ErrorCode.GENERAL,
        "unauthorized",
    )
    assert (foreign.value, foreign.error_message) == (False, "forbidden")
