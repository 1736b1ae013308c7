"""People with roles, grants and a project, for the pages of access."""

from dataclasses import dataclass
from typing import Any

from tests.conftest import Service
from tests.people import sign_in_person

# Who signs in: the subject, the name and the groups.
PEOPLE = (
    ("amina", "Amina Otieno", ("everyone", "platform")),
    ("jonas", "Jonas Weber", ("everyone", "payments")),
    ("min-jun", "Kim Min-jun", ("everyone", "support")),
)
ROLE = "on-call"
PROJECT = "payments"
GRANTS: tuple[dict[str, Any], ...] = (
    {"group": "platform", "role": "admin", "environments": ["*"], "reason": "They run Flagstone"},
    {
        "group": "everyone",
        "role": "viewer",
        "environments": ["*"],
        "reason": "Every employee may look",
    },
    {
        "group": "support",
        "role": ROLE,
        "environments": ["production"],
        "prefix": "home/",
        "reason": "Banners in an incident",
    },
)


@dataclass(frozen=True, kw_only=True)
class PeopleSample:
    """The IDs of a person and of a grant of the sample, and the session of the person."""

    person: str
    grant: str
    cookie: str


async def fill(service: Service) -> PeopleSample:
    """Sign the people in, and give them their rights through the API."""
    signed_in = [
        await sign_in_person(service, subject, *groups, name=name)
        for subject, name, groups in PEOPLE
    ]
    role = {"name": ROLE, "scopes": ["read", "write"], "description": "Switch flags at night."}
    await post(service, "/v1/roles", role)
    project = {"name": PROJECT, "prefix": "checkout/", "owner_group": "payments"}
    await post(service, "/v1/projects", project | {"description": "Paying, and its limits."})
    grants = [await post(service, "/v1/grants", body) for body in GRANTS]
    first = signed_in[0]
    return PeopleSample(person=first.person.id, grant=grants[2]["id"], cookie=first.text)


async def post(service: Service, path: str, body: dict[str, Any]) -> Any:
    async with service.client.post(path, json=body) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()
