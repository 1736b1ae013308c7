"""An owner of a list does not learn that another owner has the same list.

Lists with the same values have one digest, and may share a store.
"""

from typing import Any

import pytest

from tests.api.configuration.test_lists import STAGING, patch, upload
from tests.conftest import Service

_NAMES = tuple(f"user-{number}" for number in range(8))
_OWN, _OTHER = "payments/list", "zebra/list"


async def _upload(service: Service, key: str, *values: str, version: int = 0) -> tuple[int, Any]:
    headers = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
    return await upload(service, "\n".join(values), key=key, place=STAGING, headers=headers)


async def test_upload_of_stored_values_is_answered_as_any_other(service: Service) -> None:
    await _upload(service, _OTHER, "ada", "eve")

    answers = [
        await _upload(service, "payments/one", "ada", "eve"),
        await _upload(service, "payments/two", "kim", "bob"),
    ]

    names = ("count", "added", "removed", "repeated", "created")
    for status, result in answers:
        assert status == 201
        assert [result[name] for name in names] == [2, 2, 0, 0, True]


@pytest.mark.parametrize("has_twin", [False, True])
async def test_counts_do_not_depend_on_other_owners(service: Service, *, has_twin: bool) -> None:
    """The list has gone back to a state that another owner has as the latest one."""
    await _upload(service, _OWN, *_NAMES)
    await _upload(service, _OWN, *_NAMES, "eve", version=1)
    revision = (await (await service.client.get(STAGING)).json())["revision"]
    reverted = await service.client.post(f"{STAGING}/changes/{revision}/revert", json={})
    assert reverted.status == 200, await reverted.text()
    if has_twin:
        await _upload(service, _OTHER, *_NAMES)

    status, result = await _upload(service, _OWN, *_NAMES, "ada", version=3)

    assert (status, result["added"], result["removed"]) == (200, 1, 0), result


async def test_order_of_values_does_not_depend_on_other_owners(service: Service) -> None:
    """A patch makes the list equal to one of another owner."""
    await _upload(service, _OWN, *_NAMES)
    await _upload(service, _OTHER, *_NAMES, "eve")
    before = await _page(service)
    status, result = await patch(service, 1, key=_OWN, place=STAGING, add=["eve"])
    assert status == 200, result

    after = await _page(service)

    assert [value for value in after if value != "eve"] == before


async def _page(service: Service) -> list[str]:
    async with service.client.get(f"{STAGING}/lists/{_OWN}/values") as answer:
        return [item["value"] for item in (await answer.json())["items"]]
