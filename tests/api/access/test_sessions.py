"""Sessions of the console in memory and in the database: their end, on every instance."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import ClientSession

from app.access.caller import Caller
from app.access.credentials import Credentials
from app.access.directory import TokenDirectory
from app.access.events import Origin
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.last_used import TOKEN_USE
from app.access.models import PERSONAL_SCOPES, Grant, Principal, Scope
from app.access.sessions import service as sessions
from app.access.sessions.service import SESSIONS_PER_ACTOR_MAX
from app.database import Database
from app.errors import NotFound, Unauthenticated
from app.http.keys import DATABASE
from app.settings import Settings, Target
from tests.conftest import Admin, Service

ORIGIN = Origin(actor="test", client="192.0.2.77")
# Bytes that are no UTF-8 are surrogates in a header.
USER_AGENT = "\udcff\0\x1b" + "x" * 300
LATER = timedelta(hours=1, minutes=59)


@pytest.fixture
async def other_database(settings: Settings, database_target: Target) -> AsyncIterator[Database]:
    database = Database(settings.database)
    await database.open(database_target)
    yield database
    await database.close()


@pytest.fixture
async def other(service: Service, other_database: Database) -> TokenDirectory:
    """Return the directory of another instance, which refreshes only when it is asked."""
    directory = TokenDirectory(other_database, service.app[TOKENS].key)
    await directory.refresh()
    return directory


async def begin(
    service: Service, *scopes: Scope, actor: str = "operator:asha", environment: str = "*"
) -> str:
    grant = Grant(
        scopes=frozenset(scopes or PERSONAL_SCOPES),
        environments=frozenset({environment}),
        expires_at=None,
    )
    principal = Principal(actor=actor, name="asha", grant=grant)
    log, key = service.app[ACCESS_LOG], service.app[TOKENS].key
    new = await service.app[DATABASE].transact(
        lambda c: sessions.begin(c, log, key, principal, origin=ORIGIN, user_agent=USER_AGENT)
    )
    await service.app[TOKENS].refresh()
    return new.text


def caller(service: Service, text: str) -> Caller:
    return service.app[TOKENS].authenticate_session(text)


def reason(directory: Credentials, text: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        directory.authenticate_session(text)
    return refused.value.reason


def reason_at(directory: TokenDirectory, text: str, now: datetime) -> str:
    """Return why a session is refused at a time of the database's clock."""
    with pytest.raises(Unauthenticated) as refused:
        directory.sessions.caller_of(
            directory.sessions.find(text), directory.usable, now, is_visit=True
        )
    return refused.value.reason


async def test_session_is_a_caller_with_actor_and_name(service: Service) -> None:
    found = caller(service, await begin(service, Scope.READ, environment="local"))

    assert (found.actor, found.name, found.token_id) == ("operator:asha", "asha", None)
    assert found.rights.grants[0].scopes == {Scope.READ}
    assert found.rights.environments(Scope.READ) == {"local"}
    assert found.session_id


async def test_ended_session_is_refused_by_other_instance(
    service: Service, other: TokenDirectory
) -> None:
    text = await begin(service)
    await other.refresh()
    own = other.authenticate_session(text)

    log, database = service.app[ACCESS_LOG], service.app[DATABASE]
    await database.transact(
        lambda c: sessions.end(c, log, own.session_id or "", own, origin=ORIGIN)
    )
    await other.refresh()

    assert reason(other, text) == "session unknown or ended"


async def test_session_stays_valid_while_database_is_away(
    service: Service, other: TokenDirectory, other_database: Database
) -> None:
    text = await begin(service)
    await other.refresh()

    await other_database.close()

    assert not await other.refresh_if_possible()
    assert other.authenticate_session(text).name == "asha"


async def test_session_ends_after_12_hours_of_use(service: Service, other: TokenDirectory) -> None:
    text = await begin(service)
    await other.refresh()
    now = datetime.now(UTC)

    for visit in range(7):
        if visit * LATER >= timedelta(hours=12):
            break
        other.sessions.caller_of(other.sessions.find(text), {}, now + visit * LATER, is_visit=True)

    assert reason_at(other, text, now + timedelta(hours=12)) == "session expired"


async def test_session_ends_after_2_hours_without_visit(
    service: Service, other: TokenDirectory
) -> None:
    text = await begin(service)
    await other.refresh()
    now = datetime.now(UTC)

    other.sessions.caller_of(other.sessions.find(text), {}, now + LATER, is_visit=False)

    # An open stream is no visit.
    assert reason_at(other, text, now + timedelta(hours=2)) == "session idle for 2 hours"


async def test_visit_of_other_instance_extends_the_session(
    service: Service, other: TokenDirectory, cleaner: Admin
) -> None:
    text = await begin(service)
    cleaner.execute(
        "update flagstone.sessions set last_seen_at = current_timestamp - interval '119 minutes'"
    )
    await other.refresh()
    in_two_minutes = datetime.now(UTC) + timedelta(minutes=2)
    assert reason_at(other, text, in_two_minutes) == "session idle for 2 hours"

    caller(service, text)
    await service.app[TOKEN_USE].run_once()
    await other.refresh()

    visit = other.sessions.caller_of(other.sessions.find(text), {}, in_two_minutes, is_visit=True)
    assert visit.actor == "operator:asha"


async def test_visits_are_written_once_in_5_minutes(service: Service, cleaner: Admin) -> None:
    text = await begin(service)
    query = "select last_seen_at - created_at from flagstone.sessions"
    caller(service, text)

    await service.app[TOKEN_USE].run_once()

    assert cleaner.execute(query).fetchone() == (timedelta(0),)


async def test_visit_counts_as_use_of_the_token(service: Service, cleaner: Admin) -> None:
    token = await service.token(Scope.READ)
    async with service.signed_in(token) as browser:
        cleaner.execute("update flagstone.tokens set last_used_at = null")
        await service.app[TOKEN_USE].run_once()
        cleaner.execute("update flagstone.tokens set last_used_at = null")
        async with browser.get("/console"):
            pass

    await service.app[TOKEN_USE].run_once()

    id_ = token.split("_")[2]
    row = cleaner.execute(
        "select last_used_at is not null from flagstone.tokens where id = %s", [id_]
    ).fetchone()
    assert row == (True,)


async def test_rotated_token_takes_its_session_along(service: Service) -> None:
    token = await service.token(Scope.READ)
    async with service.signed_in(token) as browser:
        path = f"/v1/tokens/{token.split('_')[2]}/rotate"
        async with service.client.post(path, json={"grace_seconds": 0}) as answer:
            assert answer.status == 201

        async with browser.get("/console", allow_redirects=False) as page:
            assert "sign-in" in page.headers["Location"]


async def test_oldest_session_ends_above_the_limit(service: Service) -> None:
    first = await begin(service)
    texts = [await begin(service) for _ in range(SESSIONS_PER_ACTOR_MAX)]

    assert reason(service.app[TOKENS], first) == "session unknown or ended"
    assert {caller(service, text).name for text in texts} == {"asha"}


async def test_list_shows_own_sessions_and_all_to_admins(service: Service) -> None:
    reader = caller(service, await begin(service, Scope.READ, actor="operator:r"))
    admin = caller(service, await begin(service, actor="operator:a"))
    local = caller(
        service, await begin(service, Scope.ADMIN, actor="operator:l", environment="local")
    )

    async with service.app[DATABASE].connection() as connection:
        seen = {
            viewer.actor: {
                view.actor: view.is_own for view in await sessions.list_visible(connection, viewer)
            }
            for viewer in (reader, admin, local)
        }
        (view,) = await sessions.list_visible(connection, reader)

    assert seen == {
        "operator:r": {"operator:r": True},
        "operator:a": {"operator:r": False, "operator:a": True, "operator:l": False},
        # Only sessions within the administrator's own environments.
        "operator:l": {"operator:l": True},
    }
    assert (view.network, view.user_agent) == ("192.0.2.0/24", "x" * 255)


async def test_session_beyond_the_list_can_be_found_and_ended(
    service: Service, cleaner: Admin
) -> None:
    """The list has the latest 1,000 sessions."""
    admin = caller(service, await begin(service, actor="operator:a"))
    old_id = caller(service, await begin(service, actor="operator:b")).session_id or ""
    cleaner.execute(
        "insert into flagstone.sessions (id, mac, actor, name, scopes, environments, prefixes, "
        "created_at, last_seen_at, expires_at, user_agent, network) "
        "select lpad(n::text, 13, '0'), mac, 'operator:many', name, scopes, environments, "
        "prefixes, created_at, last_seen_at + interval '1 minute', expires_at, user_agent, network "
        "from flagstone.sessions, generate_series(1, 1000) as n where id = %s",
        [old_id],
    )
    log = service.app[ACCESS_LOG]

    async with service.app[DATABASE].connection() as connection:
        listed = await sessions.list_visible(connection, admin)
        of_actor = await sessions.list_visible(connection, admin, actor="operator:b")
    await service.app[DATABASE].transact(
        lambda c: sessions.end(c, log, old_id, admin, origin=ORIGIN)
    )

    assert old_id not in {view.id for view in listed}
    assert [view.id for view in of_actor] == [old_id]
    ended = cleaner.execute("select id from flagstone.sessions where revoked_at is not null")
    assert ended.fetchall() == [(old_id,)]


async def test_session_of_another_actor_is_not_listed_to_a_reader(service: Service) -> None:
    reader = caller(service, await begin(service, Scope.READ, actor="operator:r"))
    await begin(service, actor="operator:b")

    async with service.app[DATABASE].connection() as connection:
        of_actor = await sessions.list_visible(connection, reader, actor="operator:b")

    assert of_actor == []


async def test_session_of_another_person_cannot_be_ended(service: Service) -> None:
    reader = caller(service, await begin(service, Scope.READ, actor="operator:r"))
    other_id = caller(service, await begin(service)).session_id or ""
    log = service.app[ACCESS_LOG]

    with pytest.raises(NotFound):
        await service.app[DATABASE].transact(
            lambda c: sessions.end(c, log, other_id, reader, origin=ORIGIN)
        )


async def test_signing_out_everywhere_ends_all_own_sessions(
    service: Service, other: TokenDirectory, cleaner: Admin
) -> None:
    texts = [await begin(service) for _ in range(3)]
    foreign = await begin(service, actor="operator:b")
    log, own = service.app[ACCESS_LOG], caller(service, texts[0])

    ended = await service.app[DATABASE].transact(
        lambda c: sessions.end_everywhere(c, log, own, origin=ORIGIN)
    )
    await other.refresh()

    assert ended == 3
    assert {reason(other, text) for text in texts} == {"session unknown or ended"}
    assert other.authenticate_session(foreign).actor == "operator:b"
    logged = cleaner.execute(
        "select count(*) from flagstone.access_log "
        "where event = 'session_expired' and detail = 'signed out everywhere'"
    ).fetchone()
    assert logged == (3,)


async def test_use_after_expiry_is_logged_as_such(
    service: Service, console: ClientSession, cleaner: Admin
) -> None:
    # Idle: the MAC does not cover the last visit.
    cleaner.execute("update flagstone.sessions set last_seen_at = '2020-01-01'")
    service.app[TOKENS].sessions.use([])
    await service.app[TOKENS].refresh()

    async with console.get("/console", allow_redirects=False) as answer:
        assert answer.status == 303
    await service.app[ACCESS_LOG].run_once()

    rows = cleaner.execute(
        "select event, detail from flagstone.access_log order by id desc limit 1"
    )
    assert rows.fetchone() == ("session_use_after_expire", "session idle for 2 hours")


@pytest.mark.parametrize("text", ["", "x", "0123456789abc_" + "a" * 43, "é" * 57, "a" * 5_000])
async def test_unknown_session_is_refused(service: Service, text: str) -> None:
    with pytest.raises(Unauthenticated):
        caller(service, text)


@pytest.mark.parametrize(
    "change",
    [
        "expires_at = current_timestamp - interval '2 days'",
        "revoked_at = current_timestamp - interval '2 hours'",
    ],
)
async def test_old_sessions_are_deleted(service: Service, cleaner: Admin, change: str) -> None:
    await begin(service)
    cleaner.execute(f"update flagstone.sessions set {change}")  # noqa: S608 - ours

    await begin(service)

    assert cleaner.execute("select count(*) from flagstone.sessions").fetchone() == (1,)
