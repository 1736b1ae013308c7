"""Secrets are written with scope write, read with scope reveal, and masked everywhere else."""

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from app.access.models import Scope
from app.access.permissions import ALL_KEYS
from app.configuration.entries import service as configurations
from app.http.keys import DATABASE, SETTINGS
from app.secrets.data_key_cache import DataKeyCache, KeysMissingError
from app.secrets.key_sources import change_ring, ring_file, wrapper_of
from app.secrets.keyring import KeyState, new_key, parse_key_ring
from app.secrets.reveal import VAULT
from app.secrets.vault import Vault
from tests.conftest import Server, Service
from tests.waiting import until

LOCAL, STAGING = "/v1/environments/local", "/v1/environments/staging"
PATH = f"{LOCAL}/configurations/db/password"
NEW = {"If-None-Match": "*"}
CANARY = "canary-7f3a-of-nobody"


async def _put(service: Service, value: Any, path: str = PATH, **more: Any) -> int:
    headers = more.pop("headers", NEW)
    body = {"kind": "secret", "value": value} | more
    answer = await service.client.put(path, json=body, headers=headers)
    assert answer.status in {200, 201}, await answer.text()
    assert CANARY not in await answer.text()
    return int((await answer.json())["revision"])


async def _revealed(service: Service, path: str = PATH, query: str = "") -> Any:
    answer = await service.client.get(f"{path}?reveal=true{query}")
    assert answer.status == 200, await answer.text()
    return (await answer.json())["value"]


async def _code(answer: Any) -> tuple[int, str]:
    return answer.status, (await answer.json(content_type=None))["code"]


@pytest.mark.parametrize(
    "value", [CANARY, "", 0, False, [], {"user": "u", "password": CANARY}, "é\u2028\x7f", 1e300]
)
async def test_any_value_but_null_is_revealed_with_scope(service: Service, value: Any) -> None:
    await _put(service, value)

    assert await _revealed(service) == value


async def test_secret_null_is_refused(service: Service) -> None:
    await _put(service, CANARY)
    masked = await (await service.client.get(PATH)).json()

    answer = await service.client.put(
        PATH,
        json={"kind": masked["kind"], "value": masked["value"], "description": "edited"},
        headers={"If-Match": '"1"'},
    )

    assert await _code(answer) == (422, "field_invalid")
    assert await _revealed(service) == CANARY


async def test_secret_appears_only_in_revealing_answers(service: Service) -> None:
    await _put(service, {"password": CANARY})
    await _put(service, CANARY + "2", headers={"If-Match": '"1"'})
    staging = PATH.replace("local", "staging")
    await _put(service, CANARY, staging)

    for path in (
        PATH,
        f"{PATH}?revision=1",
        f"{PATH}/history",
        f"{LOCAL}/configurations",
        f"{LOCAL}/configurations?revision=1&kind=secret",
        f"{LOCAL}/changes",
        f"{LOCAL}/changes/2",
        f"{LOCAL}/diff?from=0",
        f"{LOCAL}/diff?from=1",
        f"{LOCAL}/diff?against=staging",
        *(f"{LOCAL}/export?format={format_}" for format_ in ("json", "yaml", "env", "flagd")),
        f"{LOCAL}/export?revision=1",
        f"{LOCAL}/flags.json",
        "/health",
        "/metrics",
        "/v1/access-log",
    ):
        answer = await service.client.get(path)
        assert answer.status == 200, path
        assert CANARY not in await answer.text(), path
    for path, body in (
        (f"{LOCAL}/changes/2/revert?dry_run=true", {}),
        (f"{LOCAL}/restore?dry_run=true", {"revision": 1}),
        (f"{STAGING}/promote?dry_run=true", {"from": "local", "keys": ["db/password"]}),
        (f"{LOCAL}/flags/db/password/evaluate", {}),
    ):
        answer = await service.client.post(path, json=body)
        assert CANARY not in await answer.text(), path


async def test_masked_entry_is_marked(service: Service) -> None:
    await _put(service, CANARY, description="of the database")

    one = await (await service.client.get(PATH)).json()
    listed = await (await service.client.get(f"{LOCAL}/configurations?kind=secret")).json()
    then = await (await service.client.get(f"{PATH}?revision=1")).json()
    history = await (await service.client.get(f"{PATH}/history")).json()
    revealed = await (await service.client.get(f"{PATH}?reveal=true")).json()

    assert one["value"] is None
    assert one["sealed"] is True
    assert one == listed["items"][0] == then
    assert history["items"][0]["after"]["sealed"] is True
    assert "sealed" not in revealed
    assert revealed["description"] == "of the database"


async def test_reveal_needs_scopes_read_and_reveal(service: Service) -> None:
    await _put(service, CANARY)
    for scopes, status in (
        ((Scope.READ,), 403),
        ((Scope.REVEAL,), 403),
        ((Scope.READ, Scope.WRITE, Scope.ADMIN), 403),
        ((Scope.READ, Scope.REVEAL), 200),
    ):
        token = await service.token(*scopes)
        for path in (PATH, f"{PATH}?revision=1", f"{LOCAL}/export"):
            joint = "&" if "?" in path else "?"
            answer = await service.stranger.get(
                f"{path}{joint}reveal=true", headers={"Authorization": f"Bearer {token}"}
            )
            assert answer.status == status, (scopes, path)


async def test_access_log_records_reveal_with_version(service: Service) -> None:
    await _put(service, CANARY)
    await _put(service, CANARY + "2", headers={"If-Match": '"1"'})

    await _revealed(service)
    await _revealed(service, query="&revision=1")
    await service.client.get(f"{LOCAL}/export?reveal=true")
    await service.client.get(PATH)

    log = (await (await service.client.get("/v1/access-log")).json())["items"]
    reads = [row for row in log if row["event"] == "sensitive_read"]
    assert [(row["environment"], row["resource"], row["version"]) for row in reads] == [
        ("local", None, None),
        ("local", "db/password", 1),
        ("local", "db/password", 2),
    ]
    assert reads[0]["detail"] == "export of 1 secret as of revision 2"
    assert {row["decision"] for row in reads} == {"allowed"}


async def test_reveal_fails_when_access_log_fails(service: Service, server: Server) -> None:
    await _put(service, CANARY)
    with server.admin("suite") as connection:
        connection.execute("revoke insert on flagstone.access_log from flagstone_app")
        try:
            one = await service.client.get(f"{PATH}?reveal=true")
            whole = await service.client.get(f"{LOCAL}/export?reveal=true")
        finally:
            connection.execute("grant insert on flagstone.access_log to flagstone_app")

    for answer in (one, whole):
        assert await _code(answer) == (503, "access_log_unwritable")
        assert CANARY not in await answer.text()


async def test_reveal_of_other_kind_is_a_plain_read(service: Service) -> None:
    await service.client.put(f"{LOCAL}/configurations/k", json={"value": 1}, headers=NEW)

    assert await _revealed(service, f"{LOCAL}/configurations/k") == 1
    log = (await (await service.client.get("/v1/access-log")).json())["items"]
    assert [row["event"] for row in log if row["event"] == "sensitive_read"] == []
    missing = await service.client.get(f"{LOCAL}/configurations/nothing?reveal=true")
    assert await _code(missing) == (404, "configuration_unknown")


async def test_each_version_can_be_revealed_and_restored(service: Service) -> None:
    await _put(service, "one")
    await _put(service, "two", headers={"If-Match": '"1"'})
    await service.client.delete(PATH, headers={"If-Match": '"2"'})

    await service.client.post(f"{LOCAL}/changes/3/revert", json={})
    assert await _revealed(service) == "two"
    await service.client.post(f"{LOCAL}/restore", json={"revision": 1})
    assert await _revealed(service) == "one"
    assert await _revealed(service, query="&revision=2") == "two"


async def test_restored_secret_has_the_same_commitment(service: Service) -> None:
    """The commitments are compared without opening a value, and a guess is not a copy."""
    await _put(service, "one")
    await _put(service, "two", headers={"If-Match": '"1"'})
    await service.client.post(f"{LOCAL}/restore", json={"revision": 1})
    same = await (await service.client.get(f"{LOCAL}/diff?from=1&to=3")).json()
    await _put(service, "one", headers={"If-Match": '"3"'})
    other = await (await service.client.get(f"{LOCAL}/diff?from=3&to=4")).json()
    again = await service.client.post(f"{LOCAL}/restore", json={"revision": 4})

    assert same["changes"] == []
    assert [change["patch"] for change in other["changes"]] == [[]]
    assert (await again.json())["change_sets"] == []


async def test_promoting_secret_needs_scope_reveal(service: Service) -> None:
    """Otherwise tokens of the other environment could reveal the secret, or test guesses."""
    await _put(service, CANARY)
    request = {"from": "local", "keys": ["db/password"]}
    token = await service.token(Scope.READ, Scope.WRITE)
    without = await service.stranger.post(
        f"{STAGING}/promote", json=request, headers={"Authorization": f"Bearer {token}"}
    )
    token = await service.token(Scope.READ, Scope.WRITE, Scope.REVEAL)
    with_it = await service.stranger.post(
        f"{STAGING}/promote", json=request, headers={"Authorization": f"Bearer {token}"}
    )
    again = await service.client.post(f"{STAGING}/promote", json=request)

    assert await _code(without) == (403, "scope_missing")
    assert with_it.status == 200
    assert await _revealed(service, PATH.replace("local", "staging")) == CANARY
    assert (await again.json())["change_sets"] == []


async def test_change_set_writes_secrets_of_two_environments(service: Service) -> None:
    operations = [
        {"op": "put", "key": "a", "version": 0, "kind": "secret", "value": "A"},
        {"op": "put", "key": "b", "version": 0, "value": 1},
        {
            "op": "put",
            "key": "a",
            "version": 0,
            "kind": "secret",
            "value": "B",
            "environment": "staging",
        },
    ]

    answer = await service.client.post(f"{LOCAL}/changes", json={"operations": operations})

    assert answer.status == 200, await answer.text()
    assert await _revealed(service, f"{LOCAL}/configurations/a") == "A"
    assert await _revealed(service, f"{STAGING}/configurations/a") == "B"


async def test_secret_kind_is_fixed_and_history_masks_it(
    service: Service,
) -> None:
    await _put(service, CANARY)
    fixed = await service.client.put(PATH, json={"value": 1}, headers={"If-Match": '"1"'})
    await service.client.delete(PATH, headers={"If-Match": '"1"'})
    await service.client.put(PATH, json={"value": "public"}, headers=NEW)

    texts = [
        await (await service.client.get(path)).text()
        for path in (f"{PATH}/history", f"{PATH}?revision=1", f"{LOCAL}/diff?from=1")
    ]

    assert await _code(fixed) == (409, "kind_fixed")
    assert all(CANARY not in text for text in texts)
    assert "public" in texts[0]


async def test_schema_violation_of_secret_hides_value(
    service: Service,
) -> None:
    schema = {
        "type": "object",
        "properties": {"port": {"type": "integer"}},
        "additionalProperties": False,
    }
    for value in ({CANARY: 1}, {"port": CANARY}, CANARY, [CANARY]):
        answer = await service.client.put(
            PATH, json={"kind": "secret", "value": value, "schema": schema}, headers=NEW
        )
        problem = await answer.json(content_type=None)
        assert (answer.status, problem["code"]) == (422, "value_against_schema")
        assert problem["errors"] == [{"field": "value", "rule": "must match its schema"}]
        assert CANARY not in await answer.text()

    await _put(service, {"port": 1}, schema=schema)
    assert await _revealed(service) == {"port": 1}


@pytest.mark.parametrize(
    "beside",
    [
        {"schema": {"const": CANARY}},
        {"schema": {"type": "string", "default": CANARY}},
        {"schema": {"anyOf": [{"enum": ["x", CANARY]}]}},
        {"schema": {"$defs": {"a": {"examples": [CANARY]}}}},
        {"description": f"It is {CANARY}."},
    ],
)
async def test_secret_value_in_clear_field_is_refused(
    service: Service, beside: dict[str, Any]
) -> None:
    body = {"kind": "secret", "value": CANARY} | beside
    put = await service.client.put(PATH, json=body, headers=NEW)
    document = {"flagstone": 1, "entries": {"db/password": body}}
    imported = await service.client.post(f"{LOCAL}/import", json=document)

    assert await _code(put) == (422, "field_invalid")
    assert await _code(imported) == (422, "entries_invalid")
    for answer in (put, imported):
        assert CANARY not in await answer.text()
    await _put(service, "other", schema={"default": {}}, description="other things")


async def test_repeated_secret_write_stores_keyed_digest(service: Service, server: Server) -> None:
    headers = NEW | {"Idempotency-Key": "once"}
    body = msgspec.json.encode({"kind": "secret", "value": "pin!"})
    sent = headers | {"Content-Type": "application/json"}
    answers = [await service.client.put(PATH, data=body, headers=sent) for _ in range(2)]

    with server.admin("suite") as connection:
        row = connection.execute(
            "select request, answer from flagstone.idempotency_keys where key = 'once'"
        ).fetchone()
    assert row is not None
    plain = f"PUT\n{PATH}\n\n*".encode() + b"\n\n" + body
    assert [answer.status for answer in answers] == [201, 201]
    assert await answers[0].json() == await answers[1].json()
    assert row[0] != hashlib.sha256(plain).digest()
    assert b"pin!" not in bytes(row[1])  # type: ignore[call-overload]


async def test_dry_run_stores_no_data_key(service: Service, server: Server) -> None:
    answer = await service.client.put(
        f"{PATH}?dry_run=true", json={"kind": "secret", "value": CANARY}, headers=NEW
    )

    assert answer.status == 200
    with server.admin("suite") as connection:
        count = connection.execute("select count(*) from flagstone.data_keys").fetchone()
    assert count == (0,)
    await _put(service, CANARY)
    assert await _revealed(service) == CANARY


async def test_moved_or_changed_row_is_not_opened(service: Service, server: Server) -> None:
    await _put(service, CANARY)
    await _put(service, "other", f"{LOCAL}/configurations/other")
    await _put(service, "foreign", f"{STAGING}/configurations/db/password")
    of = "select sealed from flagstone.configurations where environment = '{}' and key = '{}'"
    update = (
        "update flagstone.configurations set sealed = {} "
        "where environment = 'local' and key = 'db/password'"
    )
    for swap in (
        f"({of.format('local', 'other')})",
        f"({of.format('staging', 'db/password')})",
        "set_byte(sealed, 60, 255 - get_byte(sealed, 60))",
        "set_byte(sealed, 5, 255 - get_byte(sealed, 5))",
        "substr(sealed, 1, 20)",
        "'\\x'",
    ):
        with server.admin("suite") as connection:
            stored = connection.execute(of.format("local", "db/password").encode()).fetchone()
            connection.execute(update.format(swap).encode())
            answer = await service.client.get(f"{PATH}?reveal=true")
            connection.execute(update.format("%s").encode(), stored)
        assert await _code(answer) == (503, "secret_unreadable"), swap
        assert CANARY not in await answer.text()
    assert await _revealed(service) == CANARY


async def test_old_row_put_back_is_not_opened(service: Service, server: Server) -> None:
    """The binding of the row is valid, so only the history reveals the change."""
    await _put(service, "one")
    of = "from flagstone.configurations where environment = 'local' and key = 'db/password'"
    with server.admin("suite") as connection:
        old = connection.execute(
            f"select sealed, version, updated_revision {of}".encode()
        ).fetchone()
        await _put(service, "two", headers={"If-Match": '"1"'})
        connection.execute(
            "update flagstone.configurations set sealed = %s, version = %s, updated_revision = %s "
            "where environment = 'local' and key = 'db/password'",
            old,
        )

    answer = await service.client.get(f"{PATH}?reveal=true")
    document = await (await service.client.get(f"{LOCAL}/export?reveal=true")).text()

    assert await _code(answer) == (503, "secret_unreadable")
    assert '"two"' in document


async def test_instances_open_each_others_secrets(service: Service) -> None:
    """The second instance unwraps the data key at first use."""
    other = Vault(wrapper_of(service.app[SETTINGS]))
    await _put(service, CANARY)
    async with service.app[DATABASE].connection() as connection:
        entry, _, _ = await configurations.get(connection, "local", "db/password", vault=other)

    assert entry.value == CANARY
    assert service.app[VAULT].problem() is None


async def test_import_of_masked_file_changes_no_secret(service: Service) -> None:
    await _put(service, CANARY, description="old", schema={"type": "string"})
    await _put(service, "gone", f"{LOCAL}/configurations/gone")
    document = await (await service.client.get(f"{LOCAL}/export")).json(content_type=None)
    await service.client.delete(f"{LOCAL}/configurations/gone", headers={"If-Match": '"1"'})

    same = await service.client.post(f"{LOCAL}/import?mode=replace", json=document)
    document["entries"]["db/password"] |= {"description": "new", "schema": {"const": "guess"}}
    other = await service.client.post(f"{LOCAL}/import?mode=replace", json=document)

    first, second = await same.json(), await other.json()
    assert (same.status, other.status) == (200, 200)
    assert (first["unchanged"], first["updated"], first["deleted"]) == (1, [], [])
    assert first["warnings"] == ["gone: a secret without its value was left out"]
    assert second["updated"] == ["db/password"]
    assert second["warnings"] == [
        "db/password: the schema of a secret without its value was left out",
        "gone: a secret without its value was left out",
    ]
    now = await (await service.client.get(f"{PATH}?reveal=true")).json()
    assert (now["value"], now["description"], now["schema"]) == (CANARY, "new", {"type": "string"})


@pytest.mark.parametrize("format_", ["json", "yaml"])
async def test_revealed_file_imports_unchanged_and_elsewhere(
    service: Service, format_: str
) -> None:
    await _put(service, {"a": CANARY})
    exported = await service.client.get(f"{LOCAL}/export?format={format_}&reveal=true")
    raw = await exported.read()
    headers = {"Content-Type": f"application/{format_}"}

    again = await service.client.post(f"{LOCAL}/import", data=raw, headers=headers)
    moved = await service.client.post(f"{STAGING}/import", data=raw, headers=headers)

    assert (await again.json())["unchanged"] == 1
    assert (await moved.json())["created"] == ["db/password"]
    assert await _revealed(service, PATH.replace("local", "staging")) == {"a": CANARY}


async def test_import_does_not_confirm_guesses(service: Service) -> None:
    await _put(service, "1234")
    token = await service.token(Scope.READ, Scope.WRITE)
    answers = []
    for guess in ("1234", "0000"):
        document = {"flagstone": 1, "entries": {"db/password": {"kind": "secret", "value": guess}}}
        answer = await service.stranger.post(
            f"{LOCAL}/import?dry_run=true",
            json=document,
            headers={"Authorization": f"Bearer {token}"},
        )
        answers.append(await answer.json())

    assert answers[0] == answers[1]
    assert answers[0]["updated"] == ["db/password"]


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "setting", "value": None, "sealed": True},
        {"kind": "secret", "value": "x", "sealed": True},
        {"kind": "secret", "value": None},
    ],
)
async def test_contradictory_file_is_refused(service: Service, entry: dict[str, Any]) -> None:
    await _put(service, CANARY)

    answer = await service.client.post(
        f"{LOCAL}/import", json={"flagstone": 1, "entries": {"db/password": entry}}
    )

    assert await _code(answer) == (422, "entries_invalid")
    assert await _revealed(service) == CANARY


async def test_masked_entry_on_setting_changes_nothing(service: Service) -> None:
    await service.client.put(PATH, json={"value": 1}, headers=NEW)
    entry = {"kind": "secret", "value": None, "sealed": True}

    answer = await service.client.post(
        f"{LOCAL}/import", json={"flagstone": 1, "entries": {"db/password": entry}}
    )

    assert await _code(answer) == (422, "kind_fixed")


async def test_page_of_secrets_only_is_complete(service: Service) -> None:
    """A sum over no rows is null, which once ended the page early."""
    for name in ("a", "b", "c"):
        await _put(service, CANARY, f"{LOCAL}/configurations/{name}")

    async with service.app[DATABASE].connection() as connection:
        page, _ = await configurations.list_page(connection, "local", keys=ALL_KEYS, limit=2)

    assert [(item.key, item.sealed) for item in page.items] == [("a", True), ("b", True)]
    assert page.next == "b"


async def test_missing_key_ring_refuses_secrets_only(
    service: Service,
) -> None:
    await _put(service, CANARY)
    vault = service.app[VAULT]
    keys, vault.keys = vault.keys, DataKeyCache(None)
    try:
        fresh = PATH.replace("local", "development")
        written = await service.client.put(
            fresh, json={"kind": "secret", "value": CANARY}, headers=NEW
        )
        read = await service.client.get(f"{PATH}?reveal=true")
        masked = await service.client.get(PATH)
        other = await service.client.put(
            f"{LOCAL}/configurations/k", json={"value": 1}, headers=NEW
        )
        deleted = await service.client.delete(PATH, headers={"If-Match": '"1"'})
        async with service.app[DATABASE].connection() as connection:
            with pytest.raises(
                KeysMissingError, match="neither KEY_RING nor KEY_COMMAND"
            ) as raised:
                await vault.check(connection)
        problem = vault.problem()
    finally:
        vault.keys = keys
        async with service.app[DATABASE].connection() as connection:
            await vault.refresh(connection)

    assert await _code(written) == (503, "key_ring_missing")
    assert await _code(read) == (503, "key_missing")
    assert (masked.status, other.status, deleted.status) == (200, 201, 200)
    assert problem == f"key missing: {raised.value.kek_ids[0]}"
    assert vault.problem() is None


async def test_key_retired_during_wrap_stores_nothing(service: Service, server: Server) -> None:
    """A new data key waits for `key retire`, which has counted what the key wrapped before."""
    file = ring_file(service.app[SETTINGS])
    assert file is not None
    before = file.read_text()
    old = parse_key_ring(before).active
    new = new_key(KeyState.DECRYPT, datetime.now(UTC).date())
    assert old is not None

    async def is_waiting() -> bool:
        with server.admin("suite") as connection:
            row = connection.execute(
                "select 1 from pg_locks "
                "where not granted and relation = 'flagstone.data_keys'::regclass"
            ).fetchone()
        return row is not None

    try:
        with server.admin("suite") as retiring:
            with retiring.transaction():
                retiring.execute("lock table flagstone.data_keys in share mode")
                writing = asyncio.create_task(
                    service.client.put(PATH, json={"kind": "secret", "value": CANARY}, headers=NEW)
                )
                await until(is_waiting)
                change_ring(file, lambda r: r.with_key(new).activated(new.id).retired(old.id))
            refused = await writing
            stored = retiring.execute("select count(*) from flagstone.data_keys").fetchone()
        written = await service.client.put(
            PATH, json={"kind": "secret", "value": CANARY}, headers=NEW
        )
        with server.admin("suite") as connection:
            wrapped_by = connection.execute("select kek_id from flagstone.data_keys").fetchall()
            connection.execute("delete from flagstone.data_keys")
    finally:
        file.write_text(before)

    assert await _code(refused) == (503, "key_missing")
    assert (stored, written.status) == ((0,), 201)
    assert wrapped_by == [(new.id,)]


async def test_wrong_key_ring_wraps_no_data_key(service: Service) -> None:
    """The write would succeed, and the secret would be lost with the right ring."""
    await _put(service, CANARY)
    assert await _revealed(service) == CANARY
    file = ring_file(service.app[SETTINGS])
    assert file is not None
    right = file.read_text()
    staging = PATH.replace("local", "staging")
    body = {"kind": "secret", "value": CANARY}
    for wrong in (f"active other {'A' * 43}=\n", f"active {right.split()[1]} {'A' * 43}=\n", ""):
        file.write_text(wrong)
        try:
            refused = await service.client.put(staging, json=body, headers=NEW)
            known = await service.client.get(f"{PATH}?reveal=true")
        finally:
            file.write_text(right)
        assert await _code(refused) == (503, "key_missing"), wrong
        assert known.status == 200

    await _put(service, CANARY, staging)
    assert await _revealed(service, staging) == CANARY
    async with service.app[DATABASE].connection() as connection:
        await service.app[VAULT].check(connection)


async def test_revealed_file_masks_shredded_secrets(service: Service, server: Server) -> None:
    other = f"{LOCAL}/configurations/other"
    await _put(service, CANARY)
    raw = await (await service.client.get(f"{LOCAL}/export?reveal=true")).read()
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.data_keys "
            "set wrapped = null, retired_at = now(), destroyed_at = now()"
        )
    await _put(service, "of today", other)

    one = await service.client.get(f"{PATH}?reveal=true")
    exported = await service.client.get(f"{LOCAL}/export?reveal=true")
    document = await exported.json(content_type=None)
    log = (await (await service.client.get("/v1/access-log?event=sensitive_read")).json())["items"]
    same = await service.client.post(f"{LOCAL}/import?mode=replace", json=document)
    document["entries"] |= msgspec.json.decode(raw)["entries"]
    anew = await service.client.post(f"{LOCAL}/import", json=document)

    assert await _code(one) == (404, "secret_shredded")
    assert exported.status == 200
    entries = msgspec.json.decode(await exported.read())["entries"]
    assert (entries["db/password"]["value"], entries["db/password"]["sealed"]) == (None, True)
    assert entries["other"]["value"] == "of today"
    assert log[0]["detail"] == "export of 1 secret as of revision 2"
    assert ((await same.json())["updated"], (await same.json())["unchanged"]) == ([], 2)
    assert (await anew.json())["updated"] == ["db/password"]
    assert await _revealed(service) == CANARY
