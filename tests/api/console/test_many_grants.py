"""The pages of people stay small with 10,000 people and 5,000 grants, and leave the loop free."""

from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession

from app.access.format import generate_secret
from app.access.guard import TOKENS
from app.access.people.grants import GRANTS_MAX
from app.access.people.models import Person, RoleGrant
from app.access.people.signatures import RowSigner
from app.http.keys import DATABASE
from tests.api.console.test_people_pages import browser_of, read
from tests.conftest import Service
from tests.html import parse_html
from tests.loop import most_calls
from tests.people import ISSUER, give, sign_in_person

PEOPLE = 10_000
OF_ONE_GROUP = 4_800
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_PERSON_COLUMNS = (
    *("id", "mac", "issuer", "subject", "name", "email", "groups"),
    *("first_seen_at", "last_seen_at", "claims_at"),
)
_GRANT_COLUMNS = (
    *("id", "mac", "group_name", "role", "environments"),
    *("prefix", "reason", "created_by", "created_at"),
)


def _person(number: int) -> Person:
    return Person(
        id=generate_secret().id,
        issuer=ISSUER,
        subject=f"subject-{number}",
        name=f"Person Number {number}",
        email=f"person-{number}@example.com",
        groups=tuple(f"group-{(number + step) % 300}" for step in range(3)),
        first_seen_at=NOW,
        last_seen_at=NOW,
        claims_at=NOW,
        suspended_at=None,
    )


def _grant(number: int) -> RoleGrant:
    return RoleGrant(
        id=generate_secret().id,
        person_id=None,
        group_name="platform" if number < OF_ONE_GROUP else f"group-{number % 300}",
        role=("editor", "viewer")[number % 2],
        environments=frozenset({"local", "staging"}),
        prefix=f"team-{number}/service/",
        reason=f"They run the service {number}",
        created_by="operator:test",
        created_at=NOW,
    )


async def _fill(service: Service, people_range: range, grants_range: range) -> None:
    """Write people and grants with these numbers."""
    signer = RowSigner(service.app[TOKENS].key)
    people = [signer.signed(_person(number)) for number in people_range]
    grants = [signer.signed(_grant(number)) for number in grants_range]
    async with service.app[DATABASE].connection() as connection:
        # One statement for each table, because each statement fires the triggers of editions.
        await connection.copy_records_to_table(
            "people",
            columns=_PERSON_COLUMNS,
            records=[
                (p.id, p.mac, p.issuer, p.subject, p.name, p.email, p.groups, NOW, NOW, NOW)
                for p in people
            ],
        )
        await connection.copy_records_to_table(
            "grants",
            columns=_GRANT_COLUMNS,
            records=[
                (
                    *(g.id, g.mac, g.group_name, g.role, sorted(g.environments)),
                    *(g.prefix, g.reason, g.created_by, g.created_at),
                )
                for g in grants
            ],
        )
    await service.app[TOKENS].refresh()


async def _create_project(service: Service) -> None:
    """Create a project that has the prefixes of all grants."""
    project = {"name": "everything", "prefix": "team-", "owner_group": "platform"}
    async with service.client.post("/v1/projects", json=project | {"reason": "test"}) as answer:
        assert answer.status == 201, await answer.text()
    await service.app[TOKENS].refresh()


OWN_PAGES = ("me", "me?page=96")
# As the administrator sees them.
PAGES = (
    "people",
    "people?q=Number",
    "people/{person}",
    "people/{person}?page=96",
    "groups",
    "groups?page=7",
    "grants",
    "grants?page=100",
    "grants?key=team-1/",
    "grants?who=platform",
    "grants/new?person={person}",
    "access-check?actor=person:{person}&key=team-1/service/a&environment=local&action=read",
    "access-check?key=team-1/service/a&environment=local&action=read",
    "roles",
    "roles/editor",
    "projects",
    "projects/everything",
)
QUESTION = "scope=read&environment=local&key=team-1/service/a"
READS = (
    "people",
    "grants",
    "grants?group=platform&limit=50",
    "grants?project=everything",
    f"access/who?{QUESTION}",
    f"access/check?{QUESTION}&actor=person:{{person}}",
)
BYTES_MAX = 300_000
# A full page takes up to 40,000 function calls at once, with 50 grants and with 5,000. Those of
# all 4,800 grants of one person on a page would take 50 times as many.
GROWTH_MAX = 5


@pytest.mark.slow
async def test_many_grants_leave_pages_small_and_loop_free(
    service: Service, console: ClientSession
) -> None:
    """No turn of the loop does more work with 5,000 grants than a page of 50 rows needs."""
    asha = await sign_in_person(service, "asha", "platform")
    await _create_project(service)

    async def measure() -> tuple[dict[str, int], dict[str, int]]:
        """Return the size of each answer, and the most calls that one turn of the loop made."""
        sizes: dict[str, int] = {}
        calls: dict[str, int] = {}
        async with browser_of(service, asha.text) as own:
            todo = [
                *((own, f"/console/{path}") for path in OWN_PAGES),
                *((console, f"/console/{path}") for path in PAGES),
                *((service.client, f"/v1/{path}") for path in READS),
            ]
            for client, form in todo:
                path = form.format(person=asha.person.id)

                async def read(client: ClientSession = client, path: str = path) -> None:
                    async with client.get(path) as answer:
                        sizes[path] = len(await answer.text())
                        assert answer.status == 200, path

                calls[form] = await most_calls(read)

            async def change_and_read() -> None:
                # After a change, an instance reads the grants, and adds up the rights of callers.
                await give(service, "others", "viewer")
                async with own.get("/console/me") as answer:
                    assert answer.status == 200

            calls["a change"] = await most_calls(change_and_read)
        return sizes, calls

    # As many as fill the pages of rows, and the lists of people to choose.
    await _fill(service, range(500), range(50))
    _, few = await measure()
    await _fill(service, range(500, PEOPLE), range(50, GRANTS_MAX - 10))

    sizes, many = await measure()

    assert {path: size for path, size in sizes.items() if size > BYTES_MAX} == {}
    limit = GROWTH_MAX * max(few.values())
    assert {path: count for path, count in many.items() if count > limit} == {}, (few, many)


async def test_pages_have_every_grant_once(service: Service, console: ClientSession) -> None:
    await _create_project(service)
    await _fill(service, range(0), range(120))
    found: list[str] = []
    for number in range(1, 4):
        page = parse_html(await read(console, f"grants?page={number}"))
        cells = page.all("td", data_head="Keys")
        found += [cell.one("code").text for cell in cells]
        assert bool(page.all("a", href=f"/console/grants?page={number + 1}")) is (number < 3)

    expected = [f"team-{number}/service/" for number in range(120)]
    assert found == sorted([*expected, "team-"])
