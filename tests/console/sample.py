"""A shop with flags, segments and settings in two environments, and weeks of changes.

The pages are tested with it, and the screenshots of the documentation show it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import ClientSession

from app.audit.chain import pages
from app.configuration.changes.chain import GENESIS, link_hash
from app.http.keys import DATABASE
from tests.conftest import Admin, Service

ENVIRONMENT = "production"
FLAG = "checkout/new-flow"
# A flag with a plan.
PLANNED = "checkout/express-pay"
SETTING = "checkout/payment"
SEGMENT = "beta-testers"
SECRET = "mail/api-key"
PEOPLE = ("Amina Odhiambo", "Jonas Weber", "Min-jun Park", "release pipeline")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change set: how many days ago, by whom, why, and the new entries."""

    days: float
    author: str
    message: str
    puts: Mapping[str, Mapping[str, Any]]
    environments: Sequence[str] = (ENVIRONMENT,)


def _flag(
    variants: Mapping[str, Any], default: str, targeting: Any = None, **members: Any
) -> dict[str, Any]:
    value = {"state": "ENABLED", "variants": variants, "defaultVariant": default}
    return value | ({"targeting": targeting} if targeting is not None else {}) | members


def _entry(kind: str, value: Any, description: str, **members: Any) -> dict[str, Any]:
    return {"kind": kind, "value": value, "description": description, **members}


_SWITCH = {"on": True, "off": False}
_BOTH = ("staging", ENVIRONMENT)
_BETA = {"$ref": SEGMENT}
_STAFF = {"ends_with": [{"var": "email"}, "@example.org"]}


def _new_flow(share: int) -> dict[str, Any]:
    split = {"fractional": [["on", share], ["off", 100 - share]]}
    plans = {"in": [{"var": "plan"}, ["pro", "team"]]}
    rule = {"if": [_STAFF, "on", {"and": [plans, _BETA]}, "on", split]}
    guard = {
        "name": "staff see the new flow",
        "context": {"targetingKey": "ada", "email": "ada@example.org"},
        "variant": "on",
    }
    value = _flag(_SWITCH, "off", rule, owner="payments", guards=[guard])
    return _entry("flag", value, "The checkout on one page, with saved cards.")


_RANKER = _flag(
    {"bm25": "bm25", "neural": "neural-v2", "hybrid": "hybrid"},
    "bm25",
    {"fractional": [["bm25", 70], ["neural", 20], ["hybrid", 10]]},
    owner="search",
)
_LIMITS = _flag(
    {"standard": {"items": 50, "retries": 3}, "large": {"items": 500, "retries": 5}},
    "standard",
    {"if": [{"==": [{"var": "plan"}, "team"]}, "large"]},
)
_BANNER = _flag(
    {"none": "", "summer": "Summer sale: 20 % off", "shipping": "Free shipping this week"},
    "none",
    {"if": [{"in": [{"var": "country"}, ["DE", "AT", "CH"]]}, "shipping"]},
)
_NIGHT = {">": [{"var": "app.build"}, 4120]}
_PAYMENT_SCHEMA = {
    "type": "object",
    "properties": {
        "provider": {"enum": ["stripe", "adyen"], "description": "Who takes the payment."},
        "retries": {"type": "integer", "minimum": 0, "maximum": 10},
        "capture_late": {"type": "boolean"},
    },
    "required": ["provider", "retries"],
}


def _launch() -> dict[str, Any]:
    """Return a flag whose plan began yesterday, and waits for an approval in two days."""
    now = datetime.now(UTC).replace(minute=0, second=0)
    steps = [
        {
            "at": f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}",
            "rollout": {"variant": "on", "percent": percent},
            **members,
        }
        for hours, percent, members in (
            (-26, 1, {}),
            (-5, 10, {}),
            (19, 25, {}),
            (43, 50, {"hold": "approval"}),
            (91, 100, {}),
        )
    ]
    plan = {"name": "Express pay for all", "steps": steps}
    return _entry("flag", _flag(_SWITCH, "off", plan=plan), "Pay with one click.")


def _payment(retries: int) -> dict[str, Any]:
    value = {"provider": "stripe", "retries": retries, "capture_late": False}
    return _entry("setting", value, "How orders are paid.", schema=_PAYMENT_SCHEMA)


STEPS = (
    Step(
        days=46,
        author=PEOPLE[3],
        message="First flags of the shop",
        environments=_BOTH,
        puts={
            SEGMENT: _entry("segment", {"in": [{"var": "group"}, ["beta", "staff"]]}, "Volunteers"),
            "eu-customers": _entry(
                "segment", {"in": [{"var": "country"}, ["AT", "CH", "DE", "FR", "NL"]]}, "The EU."
            ),
            FLAG: _new_flow(0),
            "checkout/express-pay": _entry("flag", _flag(_SWITCH, "off"), "Pay with one click."),
            "search/ranker": _entry("flag", _RANKER, "The order of search results."),
            SETTING: _payment(3),
            "checkout/currencies": _entry("setting", ["EUR", "USD", "CHF"], "What we accept."),
            "mail/sender": _entry("setting", "shop@example.org", "The sender of each mail."),
        },
    ),
    Step(
        days=39,
        author=PEOPLE[0],
        message="Try the new flow with 5 %",
        puts={FLAG: _new_flow(5)},
    ),
    Step(
        days=33,
        author=PEOPLE[2],
        message="Limits by plan, and the banner for shipping",
        environments=_BOTH,
        puts={
            "cart/limits": _entry("flag", _LIMITS, "How much fits in a cart."),
            "home/banner": _entry("flag", _BANNER, "The line on top of the home page."),
            "mobile/night-mode": _entry(
                "flag", _flag(_SWITCH, "off", {"if": [_NIGHT, "on", "off"]}), "Dark colours."
            ),
            "mobile/onboarding-v2": _entry(
                "flag",
                _flag(_SWITCH, "off", {"if": [{"$ref": "eu-customers"}, "on"]}),
                "The shorter welcome.",
            ),
        },
    ),
    Step(
        days=20, author=PEOPLE[0], message="No complaints so far: 10 %", puts={FLAG: _new_flow(10)}
    ),
    Step(
        days=12,
        author=PEOPLE[1],
        message="Retry less often while the provider is slow",
        puts={SETTING: _payment(1)},
    ),
    Step(
        days=11.9,
        author=PEOPLE[1],
        message="The provider is fast again",
        puts={SETTING: _payment(3)},
    ),
    Step(
        days=6,
        author=PEOPLE[3],
        message="Switches of the operation",
        environments=_BOTH,
        puts={
            "ops/read-only": _entry("flag", _flag(_SWITCH, "off"), "Refuse orders during repairs."),
            "ops/queue-imports": _entry("flag", _flag(_SWITCH, "on"), "Import in the background."),
            "reports/csv-export": _entry(
                "flag", _flag(_SWITCH, "on") | {"state": "DISABLED"}, "Removed in the next release."
            ),
        },
    ),
    Step(
        days=5,
        author=PEOPLE[3],
        message="The key of the mail provider",
        puts={SECRET: _entry("secret", "not-a-real-key", "For mail.")},
    ),
    Step(days=2, author=PEOPLE[0], message="Raise to a quarter", puts={FLAG: _new_flow(25)}),
    Step(days=1.2, author=PEOPLE[0], message="Begin the launch", puts={PLANNED: _launch()}),
    Step(
        days=0.1,
        author=PEOPLE[2],
        message="Pay with one click, for staff",
        environments=("staging",),
        puts={
            "checkout/express-pay": _entry(
                "flag", _flag(_SWITCH, "off", {"if": [_STAFF, "on"]}), "Pay with one click."
            )
        },
    ),
)


async def fill(service: Service) -> None:
    """Write the sample's history through the API, and evaluate some of its flags."""
    clients = {name: await _authorization(service, name) for name in PEOPLE}
    async with ClientSession(base_url=service.url) as client:
        versions: dict[tuple[str, str], int] = {}
        for step in STEPS:
            for environment in step.environments:
                operations = []
                for key, entry in step.puts.items():
                    version = versions.get((environment, key), 0)
                    versions[environment, key] = version + 1
                    operations.append({"op": "put", "key": key, "version": version, **entry})
                await _post(
                    client,
                    f"/v1/environments/{environment}/changes",
                    {"message": step.message, "operations": operations},
                    clients[step.author],
                )
        for number in range(40):
            context = {"targetingKey": f"user-{number}", "email": f"user-{number}@example.com"}
            await _post(
                client,
                f"/v1/environments/{ENVIRONMENT}/ofrep/v1/evaluate/flags",
                {"context": context},
                {"Authorization": f"Bearer {service.admin_token}"},
            )


async def backdate(service: Service, admin: Admin) -> None:
    """Move each change set to the day of its step, and renew the hashes of the history.

    Add usage of the days before.
    """
    for environment in _BOTH:
        days = [step.days for step in STEPS if environment in step.environments]
        async with service.app[DATABASE].connection() as connection:
            chain = [link async for page in pages(connection, environment, 0) for link in page]
        previous = GENESIS
        for link, ago in zip(chain, days, strict=True):
            moved = replace(link, created_at=link.created_at - timedelta(days=ago))
            previous = link_hash(previous, moved)
            admin.execute(
                "update flagstone.change_sets set created_at = %s, hash = %s "
                "where environment = %s and revision = %s",
                [moved.created_at, previous, environment, link.revision],
            )
        for column, revisions in (("updated_at", "max"), ("created_at", "min")):
            admin.execute(
                f"update flagstone.configurations set {column} = moved.at from ("  # noqa: S608
                f"select key, {revisions}(change_sets.created_at) as at "
                "from flagstone.changes join flagstone.change_sets using (environment, revision) "
                "where environment = %s group by key) as moved "
                "where configurations.key = moved.key and environment = %s",
                [environment, environment],
            )
        admin.execute(
            # Usage from before the environment was created belongs to an older one of its name.
            "update flagstone.environments set hash = %s, created_at = now() - interval '60 days' "
            "where name = %s",
            [previous, environment],
        )
    _add_usage(admin)


def _add_usage(admin: Admin) -> None:
    """Add a week of evaluations of one flag: more by day than by night, and more after a change."""
    totals = dict.fromkeys(("on", "off"), 0)
    for ago in range(1, 24 * 7):
        by_day = 300 + 200 * math.sin(ago / 24 * 2 * math.pi)
        share = 0.25 if ago < 48 else 0.1
        for variant, part in (("on", share), ("off", 1 - share)):
            count = round(by_day * part) + 1
            totals[variant] += count
            admin.execute(
                "insert into flagstone.flag_usage_hours (environment, key, hour, variant, count) "
                "values (%s, %s, date_trunc('hour', now(), 'UTC') - %s, %s, %s)",
                [ENVIRONMENT, FLAG, timedelta(hours=ago), variant, count],
            )
    for variant, total in totals.items():
        admin.execute(
            "insert into flagstone.flag_usage values (%s, %s, 'SPLIT', %s, %s, now())",
            [ENVIRONMENT, FLAG, variant, total],
        )


async def _authorization(service: Service, name: str) -> dict[str, str]:
    body = {"name": name, "scopes": ["read", "write", "approve"], "environments": ["*"]}
    async with service.client.post("/v1/tokens", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return {"Authorization": f"Bearer {(await answer.json())['text']}"}


async def _post(client: ClientSession, path: str, body: Any, headers: Mapping[str, str]) -> None:
    async with client.post(path, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
