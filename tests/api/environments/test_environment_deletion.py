"""Deletion of environments. The history of a deleted environment is a closed chain."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from app.access import tokens
from app.access.events import Origin
from app.access.format import GeneratedToken
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.models import Scope
from app.access.people.edit import AccessEdit
from app.audit.chain import consistent_read
from app.audit.head_export import HeadExport
from app.audit.heads import read_heads
from app.audit.verification import Broken, Verified, verify
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.disk_copy import DiskCopy
from app.configuration.snapshots.reading import FOLLOWER
from app.crypto.secret import Secret
from app.crypto.signing import Signer
from app.database import Connection, sql
from app.flags.handlers import USAGE
from app.http.keys import DATABASE, SETTINGS
from app.server.sample_data import add_test_data
from app.settings import Settings
from tests.api.sse import streaming
from tests.conftest import Server, Service, serving
from tests.factories import flag
from tests.waiting import HANG_SECONDS

ENVIRONMENTS = "/v1/environments"
SHOP = ENVIRONMENTS + "/shop"
NEW = {"If-None-Match": "*"}


async def _send(
    service: Service, method: str, path: str, body: object = None, *, token: str = "", **sent: Any
) -> tuple[int, Any]:
    headers = {**sent.pop("headers", {}), "Authorization": f"Bearer {token or service.admin_token}"}
    async with service.stranger.request(method, path, json=body, headers=headers, **sent) as answer:
        return answer.status, await answer.json(content_type=None)


async def _make(service: Service, **members: Any) -> dict[str, Any]:
    body = {"name": "shop", "tier": "staging", **members}
    status, result = await _send(service, "POST", ENVIRONMENTS, body)
    assert status == 201, result
    environment: dict[str, Any] = result
    return environment


async def _put(service: Service, key: str, value: object, kind: str = "setting") -> int:
    status, result = await _send(
        service,
        "PUT",
        f"{SHOP}/configurations/{key}",
        {"value": value, "kind": kind},
        headers=NEW,
    )
    assert status == 201, result
    return int(result["version"])


async def _delete(service: Service, version: str = "*", **sent: Any) -> tuple[int, Any]:
    tag = version if version == "*" else f'"{version}"'
    headers = {"If-Match": tag, **sent.pop("headers", {})}
    return await _send(service, "DELETE", SHOP, headers=headers, **sent)


@pytest.fixture
async def shop(service: Service) -> Service:
    """An environment of four revisions: created, then a setting, a flag and a secret."""
    await _make(service, metadata={"team": "shop"}, fractional="v2")
    await _put(service, "a", 1)
    await _put(service, "f", flag(), "flag")
    await _put(service, "s", "hidden", "secret")
    await service.app[FOLLOWER].refresh()
    return service


async def _verified(service: Service) -> Verified | Broken:
    async with consistent_read(service.app[DATABASE]) as connection:
        return await verify(connection, "shop")


async def test_deleted_environment_is_unknown_and_its_chain_closed(
    shop: Service, server: Server
) -> None:
    await _send(shop, "POST", f"{SHOP}/ofrep/v1/evaluate/flags", {})
    await shop.app[USAGE].run_once()

    status, closed = await _delete(shop, "2", params={"message": "The shop moved"})

    assert (status, closed["name"], closed["revision"]) == (200, "shop", 5)
    for path in ("", "/configurations", "/configurations/a", "/changes", "/export", "/flags.json"):
        status, problem = await _send(shop, "GET", SHOP + path)
        assert (status, problem["code"]) == (404, "environment_unknown"), path
    assert (await _send(shop, "PUT", f"{SHOP}/configurations/b", {"value": 1}, headers=NEW))[
        0
    ] == 404
    _, listed = await _send(shop, "GET", ENVIRONMENTS)
    assert "shop" not in [item["name"] for item in listed["items"]]
    outcome = await _verified(shop)
    assert isinstance(outcome, Verified)
    assert (outcome.revision, outcome.hash) == (5, closed["hash"])
    with server.admin("suite") as connection:
        left = connection.execute(
            "select (select count(*) from flagstone.data_keys where wrapped is not null), "
            "(select count(*) from flagstone.flag_usage where environment = 'shop'), "
            "(select count(*) from flagstone.configurations where environment = 'shop'), "
            "(select message from flagstone.change_sets where environment = 'shop' "
            "and revision = 5)"
        ).fetchone()
    assert left == (0, 0, 0, "The shop moved")
    _, log = await _send(shop, "GET", "/v1/access-log?event=authz_admin&environment=shop")
    assert "deleted, revision 5" in [element["detail"] for element in log["items"]]


@pytest.mark.parametrize(
    ("condition", "status", "code"),
    [
        ({}, 428, "condition_missing"),
        ({"If-Match": '"1"'}, 412, "version_stale"),
        ({"If-Match": '"2-00000000"'}, 412, "version_stale"),
        ({"If-Match": "2"}, 400, "request_malformed"),
    ],
)
async def test_deletion_without_the_version_changes_nothing(
    shop: Service, condition: dict[str, str], status: int, code: str
) -> None:
    refused, problem = await _send(shop, "DELETE", SHOP, headers=condition)

    assert (refused, problem["code"]) == (status, code)
    assert (await _send(shop, "GET", SHOP))[1]["revision"] == 4


async def test_deletion_with_a_long_message_is_refused(shop: Service) -> None:
    status, problem = await _delete(shop, "2", params={"message": "x" * 1_001})

    assert (status, problem["errors"][0]["field"]) == (400, "message")


async def test_deletion_of_a_protected_environment_is_refused(shop: Service) -> None:
    await _send(shop, "PATCH", SHOP, {"protected": True}, headers={"If-Match": '"2"'})

    status, problem = await _delete(shop, "3")
    unknown, _ = await _send(shop, "DELETE", ENVIRONMENTS + "/nowhere", headers={"If-Match": "*"})

    assert (status, problem["code"]) == (409, "environment_protected")
    assert unknown == 404
    assert (await _send(shop, "GET", SHOP))[0] == 200


async def test_deletion_needs_the_scope_admin_of_that_environment(shop: Service) -> None:
    writer = await shop.token(Scope.READ, Scope.WRITE, environments=("shop",))
    other = await shop.token(Scope.ADMIN, environments=("local",))

    statuses = [(await _delete(shop, token=token))[0] for token in (writer, other)]

    assert statuses == [403, 403]


async def test_dry_run_of_a_deletion_writes_nothing(shop: Service) -> None:
    token = await shop.token(Scope.READ, environments=("shop",))

    status, closed = await _send(
        shop, "DELETE", SHOP, headers={"If-Match": '"2"'}, params={"dry_run": "true"}
    )

    assert (status, closed["revision"]) == (200, 5)
    assert (await _send(shop, "GET", SHOP, token=token))[1]["revision"] == 4
    status, read = await _send(shop, "GET", f"{SHOP}/configurations/s?reveal=true")
    assert (status, read["value"]) == (200, "hidden")


@pytest.fixture
async def replica(service: Service, settings: Settings) -> AsyncIterator[Service]:
    del service
    async with serving(settings) as instance:
        yield instance


async def test_deletion_ends_tokens_and_streams_on_every_replica(
    shop: Service, replica: Service
) -> None:
    shop_token = await shop.token(Scope.READ, Scope.EVALUATE, environments=("shop",))
    several = await shop.token(Scope.READ, Scope.EVALUATE, environments=("local", "shop"))
    for instance in (shop, replica):
        await instance.app[TOKENS].refresh()
        await instance.app[FOLLOWER].refresh()
    streams = []
    for instance in (shop, replica):
        for token in (shop_token, several, instance.admin_token):
            session = ClientSession(
                base_url=instance.url, headers={"Authorization": f"Bearer {token}"}
            )
            streams.append((session, await session.get(f"{SHOP}/events")))
        _, evaluated = await _send(
            instance, "POST", f"{SHOP}/ofrep/v1/evaluate/flags", {}, token=shop_token
        )
        session = ClientSession()
        streams.append((session, await session.get(evaluated["eventStreams"][0]["url"])))
    assert {answer.status for _, answer in streams} == {200}

    await _delete(shop)

    for session, answer in streams:
        async with asyncio.timeout(HANG_SECONDS), session:
            await answer.content.read()
    for instance in (shop, replica):
        await instance.app[TOKENS].refresh()
        path = ENVIRONMENTS + "/local"
        answers = [(await _send(instance, "GET", path, token=t))[0] for t in (shop_token, several)]
        assert answers == [401, 200]
        assert (await _send(instance, "GET", SHOP, token=several))[0] == 403
        assert (await _send(instance, "GET", SHOP))[0] == 404
        _, listed = await _send(instance, "GET", ENVIRONMENTS, token=several)
        assert [item["name"] for item in listed["items"]] == ["local"]


async def test_recreated_environment_starts_in_a_new_epoch(shop: Service) -> None:
    before = (await _send(shop, "GET", SHOP))[1]
    several = await shop.token(*Scope, environments=("local", "shop"))
    old = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await _delete(shop)

    result = await _make(shop, tier="production")

    assert (result["tier"], result["metadata"], result["fractional"]) == ("production", {}, "v3")
    assert (result["revision"], result["first_revision"]) == (6, 6)
    assert result["epoch"] != before["epoch"]
    assert (await _send(shop, "GET", f"{SHOP}/configurations"))[1]["items"] == []
    _, listed = await _send(shop, "GET", f"{SHOP}/changes")
    assert ([item["revision"] for item in listed["items"]], listed["next"]) == ([6], None)
    for path in (
        *("?revision=4", "/configurations?revision=4", "/export?revision=3"),
        *("/changes/4", "/diff?from=4", "/diff?from=6&to=2", "/configurations/a/history"),
        *("/configurations/a?revision=2", f"/configurations/a?at={old}"),
    ):
        assert (await _send(shop, "GET", SHOP + path))[0] == 404, path
    for path, body in (("/restore", {"revision": 4}), ("/changes/5/revert", {})):
        assert (await _send(shop, "POST", SHOP + path, body))[0] == 404, path
    _, past = await _send(shop, "GET", f"{SHOP}/configurations", params={"at": old})
    assert (past["items"], past["revision"]) == ([], 5)
    # Its versions continue, so that a write with an old version fails.
    assert await _put(shop, "a", 2) == 2
    assert (await _send(shop, "GET", SHOP, token=several))[0] == 403
    named = await shop.token(Scope.READ, environments=("shop",))
    assert (await _send(shop, "GET", SHOP, token=named))[0] == 200
    outcome = await _verified(shop)
    assert isinstance(outcome, Verified)
    assert outcome.revision == 7


async def test_secret_of_recreated_environment_has_a_new_data_key(shop: Service) -> None:
    await _delete(shop)
    await _make(shop)

    await _put(shop, "s", "other", "secret")

    _, read = await _send(shop, "GET", f"{SHOP}/configurations/s?reveal=true")
    assert read["value"] == "other"


async def test_stream_of_deleted_environment_restarts_after_recreation(shop: Service) -> None:
    epoch = (await _send(shop, "GET", SHOP))[1]["epoch"]
    await _delete(shop)
    created = await _make(shop)
    await shop.app[FOLLOWER].refresh()

    for last in (f"{epoch}:3", f"{created['epoch']}:3"):
        async with streaming(
            shop.client, f"{SHOP}/events", {"Last-Event-ID": last}, "resync"
        ) as stream:
            message = await stream.next()
        assert (message.name, message.data["revision"]) == ("resync", 6)


async def test_rotated_token_does_not_regain_the_name(shop: Service, server: Server) -> None:
    several = await shop.token(*Scope, environments=("local", "shop"))
    token_id = several.split("_")[2]
    await _delete(shop)
    await _make(shop)

    _, view = await _send(shop, "GET", f"/v1/tokens/{token_id}")
    status, rotated = await _send(shop, "POST", f"/v1/tokens/{token_id}/rotate", {}, token=several)

    assert view["environments"] == ["local"]
    assert (status, rotated["token"]["environments"]) == (201, ["local"])
    for token in (several, rotated["text"]):
        seen = [
            (await _send(shop, "GET", f"{ENVIRONMENTS}/{name}", token=token))[0]
            for name in ("local", "shop")
        ]
        assert seen == [200, 403]
    with server.admin("suite") as connection:
        connection.execute("update flagstone.tokens set lapsed = '{}' where id = %s", [token_id])
    await shop.app[TOKENS].refresh()
    assert (await _send(shop, "GET", ENVIRONMENTS + "/local", token=several))[0] == 401


async def _blocked(server: Server) -> None:
    """Wait until a session of the service waits for a lock of another session."""
    with server.admin("suite") as connection:
        async with asyncio.timeout(HANG_SECONDS):
            while not connection.execute("select 1 from pg_locks where not granted").fetchone():  # noqa: ASYNC110 - a lock gives no sign
                await asyncio.sleep(0.01)


async def test_rotation_during_deletion_loses_the_environment(
    shop: Service, server: Server
) -> None:
    several = await shop.token(Scope.READ, environments=("local", "shop"))
    log, key = shop.app[ACCESS_LOG], shop.app[TOKENS].key
    deletion: list[asyncio.Task[tuple[int, Any]]] = []

    async def rotate(connection: Connection) -> GeneratedToken:
        edit = AccessEdit(connection=connection, log=log, key=key, origin=Origin(actor="test"))
        new = await tokens.rotate(edit, several.split("_")[2], grace_seconds=60)
        deletion.append(asyncio.create_task(_delete(shop)))
        await _blocked(server)
        return new

    rotated = await shop.app[DATABASE].transact(rotate)
    assert (await deletion[0])[0] == 200
    await _make(shop)
    await shop.app[TOKENS].refresh()

    _, view = await _send(shop, "GET", f"/v1/tokens/{rotated.id}")
    assert view["environments"] == ["local"]
    assert (await _send(shop, "GET", SHOP, token=rotated.text))[0] == 403
    assert (await _send(shop, "GET", ENVIRONMENTS + "/local", token=rotated.text))[0] == 200


async def test_older_release_cannot_write_to_deleted_environment(
    shop: Service, server: Server
) -> None:
    """Its statement ignores `deleted_at`, and it returns 404 when no row comes back."""
    await _delete(shop)
    advance = (
        "update flagstone.environments set revision = revision + 1 where name = 'shop' "
        "returning revision"
    )

    with server.admin("suite") as connection:
        refused = connection.execute(advance).fetchone()
        await _make(shop)
        allowed = connection.execute(advance).fetchone()

    assert (refused, allowed) == (None, (7,))


async def test_row_whose_lapse_was_cleared_cannot_be_rotated(shop: Service, server: Server) -> None:
    several = await shop.token(Scope.READ, environments=("local", "shop"))
    token_id = several.split("_")[2]
    await _delete(shop)
    with server.admin("suite") as connection:
        connection.execute("update flagstone.tokens set lapsed = '{}' where id = %s", [token_id])

    status, problem = await _send(shop, "POST", f"/v1/tokens/{token_id}/rotate", {})

    assert (status, problem["code"]) == (409, "token_not_ours")


async def test_rotated_token_retains_its_grace_after_a_deletion(shop: Service) -> None:
    several = await shop.token(*Scope, environments=("local", "shop", "staging"))
    token_id = several.split("_")[2]
    await _send(shop, "POST", f"/v1/tokens/{token_id}/rotate", {})
    await _delete(shop)
    await _send(shop, "DELETE", ENVIRONMENTS + "/staging", headers={"If-Match": "*"})

    assert (await _send(shop, "GET", ENVIRONMENTS + "/local", token=several))[0] == 200


async def test_repeated_deletion_gets_the_first_answer(shop: Service) -> None:
    once = {"Idempotency-Key": "delete-shop"}
    first = await _delete(shop, "2", headers=once)

    again = await _delete(shop, "2", headers=once)
    reused = await _delete(shop, "3", headers=once)

    assert (first, reused[0]) == (again, 409)


async def test_repeat_after_recreation_is_a_new_write(shop: Service) -> None:
    body = {"operations": [{"op": "put", "key": "k", "version": 0, "value": 1}]}
    local = {"Idempotency-Key": "local"}
    old = {"Idempotency-Key": "old"}
    await _send(shop, "POST", f"{SHOP}/changes", body, headers=old)
    await _send(shop, "POST", f"{ENVIRONMENTS}/local/changes", body, headers=local)
    await _delete(shop)
    await _make(shop)

    _, again = await _send(shop, "POST", f"{SHOP}/changes", body, headers=old)
    other, _ = await _send(shop, "POST", f"{ENVIRONMENTS}/local/changes", body, headers=local)

    assert again["change_sets"][0]["revision"] == 8
    assert other == 200
    assert (await _send(shop, "GET", f"{SHOP}/configurations/k"))[0] == 200


async def test_write_that_waited_for_a_deletion_gets_404(shop: Service) -> None:
    writes = [
        _send(shop, "PUT", f"{SHOP}/configurations/w{n}", {"value": n}, headers=NEW)
        for n in range(5)
    ]

    answers = await asyncio.gather(_delete(shop), *writes)

    assert answers[0][0] == 200
    assert {status for status, _ in answers[1:]} <= {201, 404}
    assert isinstance(await _verified(shop), Verified)


async def test_export_reads_deleted_chain_once_after_its_head(
    shop: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    find = sql.find_link_hash

    async def find_and_count(connection: Connection, *, environment: str, revision: int) -> object:
        read.append(environment)
        return await find(connection, environment=environment, revision=revision)

    monkeypatch.setattr(sql, "find_link_hash", find_and_count)
    export = HeadExport(shop.app[DATABASE], tmp_path / "heads", Secret("k" * 32))
    await _delete(shop)
    counts = []
    for _ in range(3):
        await export.run_once()
        counts.append(read.count("shop"))
    await _make(shop)
    await export.run_once()
    counts.append(read.count("shop"))

    # The head of the deletion, one more verification, nothing, and the head of the new epoch.
    assert counts[:3] == [1, 2, 2]
    assert counts[3] > 2
    assert (export.failure, export.broken) == (None, {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("deleted_at = null", "deleted the environment, which exists without"),
        ("deleted_at = null, first_revision = 6", "deleted the environment, which exists"),
        ("first_revision = 3", "is not the first revision of the environment"),
    ],
)
async def test_deleted_environment_reopened_by_hand_is_broken(
    shop: Service, server: Server, change: str, reason: str
) -> None:
    await _delete(shop)
    with server.admin("suite") as connection:
        statement = "update flagstone.environments set {} where name = 'shop'"
        connection.execute(statement.format(change).encode())

    outcome = await _verified(shop)

    assert isinstance(outcome, Broken)
    assert reason in outcome.reason


async def test_environment_marked_deleted_by_hand_is_broken(shop: Service, server: Server) -> None:
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.environments set deleted_at = now() where name = 'shop'"
        )

    outcome = await _verified(shop)

    assert isinstance(outcome, Broken)
    assert outcome.reason.startswith("is the last and did not delete the environment")


async def test_heads_cover_a_deletion_and_the_next_epoch(shop: Service, tmp_path: Path) -> None:
    file, signer = tmp_path / "heads", Secret("k" * 32)
    export = HeadExport(shop.app[DATABASE], file, signer)
    await export.run_once()
    await _delete(shop)
    await export.run_once()
    await _make(shop)
    await export.run_once()

    heads = read_heads(file, {Signer(signer).public_key})
    async with consistent_read(shop.app[DATABASE]) as connection:
        outcome = await verify(connection, "shop", heads=heads)

    assert [head.revision for head in heads if head.environment == "shop"] == [4, 5, 6]
    assert (export.broken, export.replaced, export.failure) == ({}, {}, None)
    assert isinstance(outcome, Verified)
    assert outcome.heads == 3


async def test_disk_copy_drops_a_deleted_environment(
    shop: Service, settings: Settings, tmp_path: Path
) -> None:
    disk = Disk(tmp_path, Secret("k" * 32), settings.tier)
    keeper = DiskCopy(shop.app[FOLLOWER], shop.app[TOKENS], disk)
    await keeper.run_once()
    await _put(shop, "b", 1)
    await keeper.run_once()
    await _delete(shop)
    await keeper.run_once()

    generations = list((tmp_path / "snapshots").glob("*.snapshot"))
    result = disk.read()
    disk.release()

    assert len(generations) == 1
    assert result is not None
    assert "shop" not in {loaded.environment.name for loaded in result.state.environments}


async def test_metrics_drop_a_deleted_environment(shop: Service) -> None:
    await _delete(shop)

    answer = await shop.client.get("/metrics")

    assert 'environment="shop"' not in await answer.text()


async def test_start_does_not_seed_a_deleted_environment(service: Service) -> None:
    answers = [
        await _send(service, "DELETE", f"{ENVIRONMENTS}/{name}", headers={"If-Match": "*"})
        for name in ("local", "development")
    ]

    seeded = await add_test_data(service.app[SETTINGS], service.app[DATABASE])

    assert [status for status, _ in answers] == [200, 200]
    assert not {"local", "development"} & set(seeded)


@pytest.mark.slow
async def test_deletion_of_more_entries_than_a_statement_has(service: Service) -> None:
    await _make(service)
    document = json.dumps({f"key/{number:05}": {"n": number} for number in range(2_500)})
    status, _ = await _send(service, "POST", f"{SHOP}/import?format=json", json.loads(document))
    assert status == 200

    status, closed = await _delete(service)

    assert (status, closed["revision"]) == (200, 3)
    assert isinstance(await _verified(service), Verified)
