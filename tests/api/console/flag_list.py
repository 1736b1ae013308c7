"""Flags for the tests of the list, and what a page of the list shows."""

from collections.abc import Mapping
from typing import Any

from app.console.first_request import CONSOLE
from app.console.flags.listing import LAST_EVALUATIONS
from app.database import sql
from app.http.keys import DATABASE
from tests.conftest import Service
from tests.factories import flag
from tests.html import Element, parse_html

PRO = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on"]}
QUARTER = {"fractional": [["on", 25], ["off", 75]]}


def boolean(targeting: Any = None, **members: Any) -> dict[str, Any]:
    rules = {} if targeting is None else {"targeting": targeting}
    return flag(defaultVariant="off", **rules) | members


async def create(
    service: Service,
    flags: Mapping[str, Any],
    environment: str = "local",
    *,
    descriptions: Mapping[str, str] | None = None,
) -> None:
    """Create flags, or change those whose version is 1."""
    operations = [
        {"op": "put", "key": key, "version": 0, "kind": "flag", "value": value}
        | {"description": (descriptions or {}).get(key)}
        for key, value in flags.items()
    ]
    await change(service, operations, environment)


async def change(
    service: Service, operations: list[dict[str, Any]], environment: str = "local"
) -> None:
    path = f"/v1/environments/{environment}/changes"
    async with service.client.post(path, json={"operations": operations}) as answer:
        assert answer.status == 200, await answer.text()


async def evaluated(service: Service, key: str, days: int, environment: str = "local") -> None:
    """Store that a flag was evaluated some days ago."""

    async def add(connection: Any) -> None:
        await sql.add_flag_usage(
            connection,
            environments=[environment],
            keys=[key],
            reasons=["STATIC"],
            variants=["off"],
            counts=[1],
        )
        await connection.execute(
            "update flag_usage set last_evaluated_at = current_timestamp - $1 * interval '1 day' "
            "where key = $2",
            days,
            key,
        )

    await service.app[DATABASE].transact(add)
    pages = await service.app[CONSOLE].pages()
    pages[LAST_EVALUATIONS].forget(frozenset())


def address(environment: str = "local", page: str = "flags") -> str:
    return f"/console/environments/{environment}/{page}"


async def get_page(
    service: Service,
    path: str,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Element:
    async with service.client.get(path, params=params, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return parse_html(await answer.text())


def keys_of(page: Element) -> list[str]:
    return [name.all("a")[0].text for name in page.all("th", class_="flag-name")]


def cells_of(page: Element, key: str) -> list[str]:
    """Return the texts of the cells of a flag, one for each environment."""
    for row in page.all("tr"):
        if row.all("input", value=key):
            return [cell.text for cell in row.all("td", class_="flag-cell")]
    raise AssertionError(f"no row for {key}")
