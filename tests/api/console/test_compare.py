"""The pages that compare environments and moments, and promote keys."""

from typing import Any

from app.access.models import Scope
from tests.api.console.test_changes import get, plain, post, rollout, write
from tests.conftest import Service

LOCAL = "/console/environments/local"
STAGING = "/console/environments/staging"
OWN = {"Sec-Fetch-Site": "same-origin"}


async def promote(
    service: Service, keys: list[str], *, target: str = STAGING, **fields: str
) -> tuple[int, str]:
    """Post keys of local to the target. A redirect gives its location."""
    data: list[tuple[str, str]] = [("key", key) for key in keys]
    body = [*data, ("source", "local"), *fields.items()]
    async with service.client.post(
        f"{target}/promote", data=body, headers=OWN, allow_redirects=False
    ) as answer:
        return answer.status, answer.headers.get("Location") or plain(await answer.text())


async def staged(service: Service, key: str) -> Any:
    async with service.client.get(f"/v1/environments/staging/configurations/{key}") as answer:
        return (await answer.json()).get("value")


async def test_comparison_asks_what_to_compare(service: Service) -> None:
    assert "Choose what to compare" in await get(service, "/compare")


async def test_two_environments_differ_in_words(service: Service) -> None:
    await write(service, checkout=(0, rollout(10)), limit=(0, 5))

    text = await get(service, "/compare?against=staging")

    assert "After a promotion from local to staging" in text
    assert "What would change in staging to make it equal to local." in text
    assert "Flag shop/checkout is created: 10 % on, 90 % off by targetingKey for all" in text
    assert "Preview the promotion to staging" in text


async def test_swapped_comparison_changes_the_other(service: Service) -> None:
    await write(service, limit=(0, 5))

    async with service.client.get(f"{LOCAL}/compare?against=staging") as answer:
        page = await answer.text()
    async with service.client.get(f"{STAGING}/compare?against=local") as answer:
        swapped = await answer.text()

    assert f'href="{STAGING}/compare?against=local"' in page
    assert f'action="{STAGING}/promote"' in page
    assert f'action="{LOCAL}/promote"' in swapped
    assert "limit is deleted" in plain(swapped)


async def test_comparison_without_write_offers_no_promotion(service: Service) -> None:
    await write(service, limit=(0, 5))
    token = await service.token(Scope.READ)

    text = await get(
        service, "/compare?against=staging", headers={"Authorization": f"Bearer {token}"}
    )

    assert "limit is created" in text
    assert "Preview the promotion" not in text


async def test_two_moments_differ_in_words(service: Service) -> None:
    await write(service, limit=(0, 5))
    await write(service, limit=(1, 10))

    text = await get(service, "/compare?from=1&to=2")

    assert "What changed in local from revision 1 to revision 2. limit" in text
    assert "limit changed from 5 to 10" in text
    assert "No difference" in await get(service, "/compare?from=2")
    assert "no such revision" in await get(service, "/compare?from=9", 404)


async def test_promotion_is_shown_and_then_written(service: Service) -> None:
    await write(service, limit=(0, 5), size=(0, 1))

    shown = await promote(service, ["limit"])
    assert (shown[0], await staged(service, "limit")) == (200, None)
    assert "The promotion is one change set with 1 key," in shown[1]
    written = await promote(service, ["limit"], step="write", message="Go live")

    assert written == (303, f"{STAGING}/changes/1?saved=1")
    assert (await staged(service, "limit"), await staged(service, "size")) == (5, None)
    assert "The keys are already equal." in (await promote(service, ["limit"], step="write"))[1]


async def test_promotion_without_a_key_stays_on_compare(service: Service) -> None:
    await write(service, limit=(0, 5))

    status, location = await promote(service, [])

    assert (status, location) == (303, f"{LOCAL}/compare?against=staging&chosen=none")
    text = await get(service, location.removeprefix(LOCAL))
    assert "Choose at least one key." in text
    assert "limit is created" in text


async def test_comparison_needs_access_to_both(service: Service) -> None:
    token = await service.token(Scope.READ, Scope.WRITE, environments=("local",))
    headers = {"Authorization": f"Bearer {token}"}

    text = await get(service, "/compare?against=staging", 403, headers=headers)
    status, refusal = await post(service, "/promote", token, source="staging", key="a")
    headers |= OWN
    body = {"source": "local", "key": "a", "step": "write"}
    async with service.client.post(f"{STAGING}/promote", data=body, headers=headers) as answer:
        target_status = answer.status

    assert "Your rights do not cover the environment staging." in text
    assert (status, "Your rights do not cover the environment staging." in refusal) == (403, True)
    assert target_status == 403


async def test_promotion_to_production_needs_its_name(service: Service) -> None:
    await write(service, limit=(0, 5))
    production = "/console/environments/production"

    shown = await promote(service, ["limit"], target=production)
    wrong = await promote(service, ["limit"], target=production, step="write", confirmation="yes")
    right = await promote(
        service, ["limit"], target=production, step="write", confirmation="production"
    )

    assert "Type production to confirm" in shown[1]
    assert (wrong[0], "Type production, exactly" in wrong[1]) == (422, True)
    assert right == (303, f"{production}/changes/1?saved=1")
