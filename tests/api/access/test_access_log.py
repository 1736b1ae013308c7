"""The access log: refusals are logged, and administration needs a record."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest

from app.access.events import Access, AccessEvent, Decision, Origin
from app.access.format import generate_token
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.log import AccessLog
from app.access.models import Scope
from app.access.rate_limit import ATTEMPTS_MAX
from app.access.stdout_log import StdoutLog
from app.access.trimming import trim
from app.database import Connection, Database
from app.database.role_names import APP, MIGRATOR
from app.errors import Forbidden, Unavailable
from app.http.keys import DATABASE
from tests.conftest import Server, Service
from tests.factories import flag

LOCAL = "/v1/environments/local"
ROUTE = "/v1/environments/{environment}"
NEW = {"If-None-Match": "*"}


@pytest.fixture
async def log(service: Service) -> AccessLog:
    """The access log of the running service. It is empty."""
    return service.app[ACCESS_LOG]


async def _access_log(service: Service, **query: str) -> list[dict[str, Any]]:
    """Flush the log and return its rows, the latest first."""
    await service.app[ACCESS_LOG].run_once()
    answer = await service.client.get("/v1/access-log", params=query)
    assert answer.status == 200
    items: list[dict[str, Any]] = (await answer.json())["items"]
    return items


async def _get(
    service: Service, token: str | None, path: str = LOCAL, **headers: str
) -> tuple[int, str]:
    """Return the status and the request id."""
    bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
    async with service.stranger.get(path, headers=headers | bearer) as answer:
        return answer.status, answer.headers["X-Request-ID"]


@contextmanager
def _unwritable(server: Server) -> Iterator[None]:
    with server.admin("suite") as connection:
        connection.execute(f"revoke insert on flagstone.access_log from {APP}")
        try:
            yield
        finally:
            connection.execute(f"grant insert on flagstone.access_log to {APP}")


@contextmanager
def _locked(server: Server) -> Iterator[None]:
    with server.admin("suite") as connection, connection.transaction():
        connection.execute("lock table flagstone.access_log in exclusive mode")
        yield


async def _record(log: AccessLog, access: Access, connection: Connection) -> None:
    await log.record(connection, access)


@pytest.mark.usefixtures("log")
async def test_access_log_has_the_reason_hidden_from_the_client(service: Service) -> None:
    good = await service.token(Scope.READ)
    expired = await service.token(Scope.READ, expires_at=datetime.now(UTC) - timedelta(seconds=5))
    revoked = await service.token(Scope.READ)
    await service.revoke(revoked)
    await service.app[TOKENS].refresh()
    unknown = generate_token(is_admin=False)
    shown = {"absent": None, "malformed": good[:-1] + "~", "expired": expired}

    for token in (*shown.values(), unknown.text, revoked):
        assert (await _get(service, token))[0] == 401

    refusals = [row for row in await _access_log(service) if row["event"] == "authn_login_fail"]
    assert {row["detail"] for row in refusals} == {*shown, "unknown or revoked"}
    by_detail = {row["detail"]: row for row in refusals}
    assert by_detail["expired"]["token_id"] == expired.split("_")[2]
    assert by_detail["unknown or revoked"]["count"] == 2
    assert by_detail["unknown or revoked"]["token_id"] == unknown.id
    assert by_detail["malformed"]["token_id"] is None
    for row in refusals:
        assert (row["actor"], row["decision"]) == ("anonymous", "refused")
        assert (row["client"], row["method"]) == ("127.0.0.1", "GET")
        assert (row["route"], row["environment"]) == (ROUTE, None)
    assert not any(text in str(refusals) for text in (good, expired, revoked, unknown.text))


@pytest.mark.usefixtures("log")
async def test_access_log_names_the_token_of_a_forbidden_request(service: Service) -> None:
    reader = await service.token(Scope.READ, environments=("staging",))
    writer = await service.token(Scope.WRITE, environments=("local",))
    elsewhere = {
        "operations": [
            {"op": "put", "environment": "staging", "key": "k", "version": 0, "value": 1}
        ]
    }

    await _get(service, reader, LOCAL + "/configurations/shop/title")
    await _get(service, writer, LOCAL + "/configurations/shop/title")
    bearer = {"Authorization": f"Bearer {writer}"}
    by_handler = await service.stranger.post(LOCAL + "/changes", json=elsewhere, headers=bearer)
    ofrep = await service.stranger.post(LOCAL + "/ofrep/v1/evaluate/flags/new", headers=bearer)

    rows = await _access_log(service, event="authz_fail")
    assert (by_handler.status, ofrep.status) == (403, 403)
    refusals = [(row["actor"], row["route"].removeprefix(ROUTE), row["detail"]) for row in rows]
    assert refusals == [
        (f"token:{writer.split('_')[2]}", "/ofrep/v1/evaluate/flags/{key}", "scope_missing"),
        (f"token:{writer.split('_')[2]}", "/changes", "environment_foreign"),
        (f"token:{writer.split('_')[2]}", "/configurations/{key}", "scope_missing"),
        (f"token:{reader.split('_')[2]}", "/configurations/{key}", "environment_foreign"),
    ]
    assert rows[-1]["resource"] == "shop/title"
    assert {row["environment"] for row in rows} == {"local"}


@pytest.mark.usefixtures("log")
async def test_bad_ticket_is_logged(service: Service) -> None:
    for ticket in ("~", "A" * 60):
        async with service.stranger.get(f"/ofrep/v1/streams/{ticket}") as answer:
            assert answer.status == 401

    rows = await _access_log(service)
    assert [row["detail"] for row in rows] == ["ticket wrong", "ticket malformed"]
    assert {row["route"] for row in rows} == {"/ofrep/v1/streams/{ticket}"}


@pytest.mark.usefixtures("log")
async def test_equal_refusals_are_one_row_with_details_of_the_first(
    service: Service,
) -> None:
    ids = [
        (
            await _get(
                service, generate_token(is_admin=False).text, **{"X-Request-ID": f"r{number}"}
            )
        )[1]
        for number in range(ATTEMPTS_MAX)
    ]

    (row,) = await _access_log(service)
    assert (row["count"], row["request_id"]) == (ATTEMPTS_MAX, ids[0])
    assert row["at"] < row["last_at"]


@pytest.mark.usefixtures("log")
async def test_good_requests_are_not_in_the_access_log(service: Service) -> None:
    await service.client.put(LOCAL + "/configurations/k", json={"value": 1}, headers=NEW)
    await service.client.get(LOCAL + "/configurations/k")
    await service.client.get(LOCAL + "/configurations/missing")

    assert await _access_log(service) == []


@pytest.mark.usefixtures("log")
async def test_making_and_revoking_a_token_is_recorded_at_once(service: Service) -> None:
    token = await service.token(Scope.READ)
    await service.revoke(token)

    answer = await service.client.get("/v1/access-log")
    events = [
        (row["event"], row["decision"], row["actor"], row["resource"])
        for row in (await answer.json())["items"]
    ]
    id_ = token.split("_")[2]
    assert events == [
        ("authn_token_revoked", "allowed", "test", id_),
        ("authn_token_created", "allowed", "test", id_),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("obstacle", [_unwritable, _locked])
async def test_access_log_unavailable_only_refuses_administration(
    service: Service, server: Server, log: AccessLog, obstacle: Any
) -> None:
    await service.client.put(
        LOCAL + "/configurations/new",
        json={"kind": "flag", "value": flag(defaultVariant="on")},
        headers=NEW,
    )
    reader = await service.token(Scope.READ)
    failures = log.failures

    with obstacle(server):
        with pytest.raises(Unavailable) as of_making:
            await service.token(Scope.ADMIN)
        with pytest.raises(Unavailable) as of_revoking:
            await service.revoke(reader)
        evaluated = await service.client.post(LOCAL + "/ofrep/v1/evaluate/flags/new")
        read = await service.client.get(LOCAL + "/configurations/new")
        written = await service.client.put(
            LOCAL + "/configurations/k", json={"value": 1}, headers=NEW
        )
        refused = await _get(service, "nonsense")
        await log.run_once()
        warned = await (await service.client.get("/health")).json()
        ready = await service.stranger.get("/health/ready")
        await service.app[TOKENS].refresh()
        still_good = await _get(service, reader)
    recorded = await _access_log(service, event="authn_login_fail")
    healed = await (await service.client.get("/health")).json()

    assert {of_making.value.code, of_revoking.value.code} == {"access_log_unwritable"}
    assert (evaluated.status, read.status, written.status) == (200, 200, 201)
    assert (refused[0], still_good[0], ready.status) == (401, 200, 200)
    assert log.failures - failures == 3
    (check,) = warned["checks"]["access_log:write"]
    assert (check["status"], check["output"]) == ("warn", "cannot be written")
    assert healed["checks"]["access_log:write"][0]["status"] == "pass"
    # Queued refusals were written later. The refused administration changed nothing.
    assert [row["detail"] for row in recorded] == ["malformed"]
    with server.admin("suite") as connection:
        rows = connection.execute(
            "select count(*), count(revoked_at) from flagstone.tokens where name = 'test'"
        )
        assert rows.fetchone() == (1, 0)


async def test_abandoned_transaction_records_no_access(service: Service, log: AccessLog) -> None:
    async def work(connection: Connection) -> None:
        await log.record(connection, Origin(actor="test").did(AccessEvent.SECRET_READ))
        raise Unavailable("given_up", "…")

    recorded = log.recorded
    with pytest.raises(Unavailable, match="…"):
        await service.app[DATABASE].transact(work)

    assert (await _access_log(service), log.recorded - recorded) == ([], 0)


async def test_record_without_a_transaction_is_a_bug(service: Service, log: AccessLog) -> None:
    async with service.app[DATABASE].connection() as connection:
        with pytest.raises(RuntimeError, match="in the transaction"):
            await log.record(connection, Origin(actor="test").did(AccessEvent.SECRET_READ))


async def test_every_field_comes_back_as_it_was_given(service: Service, log: AccessLog) -> None:
    origin = Origin(
        actor="token:0123456789abC",
        token_id="0123456789abC",
        client="2001:db8::1",
        request_id="r1",
        method="GET",
        route="/v1/{x}",
    )
    given = origin.did(
        AccessEvent.SECRET_READ,
        environment="local",
        resource="db/password",
        version=7,
        detail="why",
    )
    before = datetime.now(UTC)
    await service.app[DATABASE].transact(lambda c: log.record(c, given))

    (row,) = await _access_log(service)
    fields = {name: getattr(given, name) for name in Access.__struct_fields__}
    assert row | fields == row | {"at": None, "last_at": None}
    assert before <= datetime.fromisoformat(row["at"]) <= datetime.now(UTC)


async def test_pages_go_from_the_latest_to_the_first(service: Service, log: AccessLog) -> None:
    origin = Origin(actor="test")
    for number in range(5):
        event = (AccessEvent.SECRET_READ, AccessEvent.ADMINISTRATION)[number % 2]
        access = origin.did(event, environment="local", version=number)
        await service.app[DATABASE].transact(partial(_record, log, access))

    async def versions(**query: str) -> tuple[list[int], int | None]:
        page = await (await service.client.get("/v1/access-log", params=query)).json()
        return [row["version"] for row in page["items"]], page["next"]

    first, following = await versions(limit="2")
    second, last = await versions(limit="2", before=str(following))
    third, end = await versions(limit="2", before=str(last))
    whole = await versions(limit="5")
    of_event = await versions(event="authz_admin")
    of_environment = await versions(environment="staging")

    assert (first, second, third, end) == ([4, 3], [2, 1], [0], None)
    assert whole == ([4, 3, 2, 1, 0], None)
    assert (of_event, of_environment) == (([3, 1], None), ([], None))


async def test_administrator_sees_accesses_of_its_environment_only(
    service: Service, log: AccessLog
) -> None:
    local_admin = await service.token(Scope.ADMIN, environments=("staging",))
    for environment in ("local", "staging", None):
        access = Origin(actor="test").did(AccessEvent.SECRET_READ, environment=environment)
        await service.app[DATABASE].transact(partial(_record, log, access))
    bearer = {"Authorization": f"Bearer {local_admin}"}

    seen = await (await service.stranger.get("/v1/access-log", headers=bearer)).json()
    foreign = await service.stranger.get("/v1/access-log?environment=local", headers=bearer)

    assert [row["environment"] for row in seen["items"]] == ["staging"]
    assert foreign.status == 403


async def test_access_log_of_remade_environment_omits_the_deleted_one(
    service: Service, log: AccessLog
) -> None:
    qa = {"name": "qa", "tier": "staging"}
    for _ in range(2):
        created = await service.client.post("/v1/environments", json=qa)
        assert created.status == 201
        access = Origin(actor="test").did(AccessEvent.SECRET_READ, environment="qa")
        await service.app[DATABASE].transact(partial(_record, log, access))
        token = await service.token(Scope.ADMIN, environments=("qa",))
        seen = await service.stranger.get(
            "/v1/access-log", headers={"Authorization": f"Bearer {token}"}
        )
        events = [access["event"] for access in (await seen.json())["items"]]
        assert events == ["sensitive_read", "authz_admin"]
        deleted = await service.client.delete("/v1/environments/qa", headers={"If-Match": "*"})
        assert deleted.status == 200


@pytest.mark.parametrize(
    "query", ["event=nonsense", "before=x", "limit=0", "after=1", "environment=", "environment=A"]
)
async def test_invalid_query_is_refused(service: Service, query: str) -> None:
    answer = await service.client.get(f"/v1/access-log?{query}")

    assert answer.status == 400


async def test_trimming_deletes_old_rows_and_is_logged(
    service: Service, server: Server, log: AccessLog
) -> None:
    with server.admin("suite") as connection:
        connection.execute(
            "insert into flagstone.access_log (at, event, decision, actor) "
            "select current_timestamp - make_interval(days => day), 'authz_fail', 'refused', '' "
            "from generate_series(0, 11999) as day"
        )
    before = datetime.now(UTC) - timedelta(days=99, hours=12)

    as_app = trim(service.app[DATABASE], log, before=before, origin=Origin(actor="service"))
    with pytest.raises(Forbidden):
        await as_app
    database = Database(server.provisioner.settings)
    await database.open(server.target(MIGRATOR, "suite"))
    trimmed = await trim(
        database, AccessLog(database), before=before, origin=Origin(actor="operator:me")
    )
    await database.close()

    rows = await _access_log(service, limit="500")
    assert (trimmed, len(rows)) == (11_900, 101)
    assert (rows[0]["actor"], rows[0]["event"]) == ("operator:me", "authz_admin")
    assert rows[0]["detail"] == f"trimmed of all before {before.isoformat()}"
    assert "service" not in {row["actor"] for row in rows}


async def test_line_is_written_after_the_commit(service: Service) -> None:
    reading, writing = os.pipe()
    log = AccessLog(service.app[DATABASE], StdoutLog(writing))
    attempts = []

    async def twice(connection: Connection) -> None:
        await log.record(
            connection, Origin(actor="test").did(AccessEvent.SECRET_READ, detail="stored")
        )
        attempts.append(1)
        if len(attempts) == 1:
            raise asyncpg.SerializationError

    async def in_vain(connection: Connection) -> None:
        await log.record(
            connection, Origin(actor="test").did(AccessEvent.SECRET_READ, detail="not")
        )
        raise Unavailable("given_up", "…")

    with pytest.raises(Unavailable):
        await service.app[DATABASE].transact(in_vain)
    await service.app[DATABASE].transact(twice)
    await log.close()
    os.close(writing)

    with os.fdopen(reading) as pipe:
        (line,) = pipe.readlines()
    assert (json.loads(line)["detail"], len(attempts), log.recorded) == ("stored", 2, 1)


async def test_health_remembers_that_particulars_were_lost(
    service: Service, log: AccessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.access.log.WARN_SECONDS", 60.0)
    for number in range(100):
        caller = Origin(client=f"192.0.2.{number}")
        log.enqueue(caller.did(AccessEvent.LOGIN_FAIL, decision=Decision.REFUSED))
    rows = await _access_log(service)

    report = await (await service.client.get("/health")).json()

    assert sum(row["count"] for row in rows) == 100
    assert len(rows) < 100
    (check,) = report["checks"]["access_log:write"]
    assert (check["status"], check["output"]) == ("warn", "details of accesses were lost")


PATCH = {"If-Match": "*", "Content-Type": "application/merge-patch+json"}


async def test_access_log_has_administration_but_no_descriptions(
    service: Service,
) -> None:
    created = await service.client.post("/v1/environments", json={"name": "qa", "tier": "staging"})
    for patch in ({"fractional": "v2", "protected": True}, {"metadata": {"team": "shop"}}):
        answer = await service.client.patch(LOCAL, data=json.dumps(patch), headers=PATCH)
        assert answer.status == 200
    dry = await service.client.patch(
        LOCAL, params={"dry_run": "true"}, data=json.dumps({"protected": False}), headers=PATCH
    )
    restored = await service.client.post(f"{LOCAL}/restore", json={"revision": 0})

    assert (created.status, dry.status, restored.status) == (201, 200, 200)
    rows = await _access_log(service, event="authz_admin")
    assert [(row["environment"], row["resource"], row["detail"]) for row in rows] == [
        ("local", "environment", "fractional v2 to v3, revision 3"),
        ("local", "environment", "fractional v3 to v2, protected false to true, revision 1"),
        ("qa", "environment", "created"),
    ]
    assert {row["actor"] for row in rows} == {f"token:{service.admin_token.split('_')[2]}"}


async def test_without_a_log_no_environment_is_administered(
    service: Service, server: Server
) -> None:
    body = {"name": "qa", "tier": "staging"}
    with _unwritable(server):
        created = await service.client.post("/v1/environments", json=body)
        patched = await service.client.patch(
            LOCAL, data=json.dumps({"protected": True}), headers=PATCH
        )
        described = await service.client.patch(
            LOCAL, data=json.dumps({"metadata": {"team": "shop"}}), headers=PATCH
        )
    environment = await (await service.client.get(LOCAL)).json()
    again = await service.client.post("/v1/environments", json=body)

    assert (created.status, patched.status, described.status, again.status) == (503, 503, 200, 201)
    assert (environment["protected"], environment["metadata"]) == (False, {"team": "shop"})
