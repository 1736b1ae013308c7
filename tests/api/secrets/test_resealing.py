"""Resealing changes sealed bytes only: versions, revisions and the hash chain stay."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.access.events import Origin
from app.access.log import AccessLog
from app.configuration.changes.chain import GENESIS, link_hash
from app.configuration.changes.models import Change, ChangeKind, Content, Entry, Kind, Link
from app.database import Database
from app.database.client.session_setup import prepare_as_owner
from app.database.role_names import MIGRATOR
from app.errors import Unavailable
from app.http.keys import DATABASE
from app.secrets import data_keys
from app.secrets.envelope import sealed_of
from app.secrets.key_wrapping import RingWrapper, Wrapped
from app.secrets.keyring import KeyRing
from app.secrets.reveal import VAULT
from app.secrets.vault import ROTATION_DUE, Vault, list_data_keys
from app.settings import Settings
from tests.conftest import Server, Service
from tests.waiting import HANG_SECONDS

LOCAL = "/v1/environments/local"
ORIGIN = Origin(actor="operator:test")


@pytest.fixture
async def owner(server: Server, settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.database)
    await database.open(server.target(MIGRATOR, "suite"), prepare_as_owner)
    yield database
    await database.close()


async def _write(service: Service, key: str, value: Any, version: int = 0) -> None:
    operation = {"op": "put", "key": key, "version": version, "kind": "secret", "value": value}
    answer = await service.client.post(f"{LOCAL}/changes", json={"operations": [operation]})
    assert answer.status == 200, await answer.text()


async def _rotate(service: Service, owner: Database) -> int:
    vault, log = service.app[VAULT], AccessLog(owner)
    await owner.transact(lambda c: data_keys.renew(c, vault, log, "local", origin=ORIGIN))
    counts: list[int] = []
    await data_keys.reseal(owner, vault, "local", counts.append)
    return sum(counts)


async def _fill(service: Service) -> None:
    await _write(service, "a", "one")
    await _write(service, "a", {"two": 2}, version=1)
    await _write(service, "b", "of b")
    await service.client.delete(f"{LOCAL}/configurations/b", headers={"If-Match": '"1"'})
    await service.client.put(
        f"{LOCAL}/configurations/open", json={"value": 1}, headers={"If-None-Match": "*"}
    )
    await service.client.post(f"{LOCAL}/restore", json={"revision": 1})


async def _state(service: Service) -> list[Any]:
    paths = ("configurations", "changes", "configurations/a/history", "export?reveal=true")
    state = [await (await service.client.get(f"{LOCAL}/{path}")).text() for path in paths]
    for revision in range(1, 7):
        path = f"{LOCAL}/export?reveal=true&revision={revision}"
        state.append(await (await service.client.get(path)).text())
    return state


async def test_resealing_changes_sealed_bytes_only(
    service: Service, server: Server, owner: Database
) -> None:
    await _fill(service)
    before, sealed = await _state(service), _sealed(server)

    count = await _rotate(service, owner)

    after, resealed = await _state(service), _sealed(server)
    assert before == after
    # Entry a, then each side of each change that has one.
    assert count == len(sealed) == 8
    assert not set(sealed) & set(resealed)
    assert len({content[2:10] for content in resealed}) == 1
    assert sorted(content[10:42] for content in sealed) == sorted(
        content[10:42] for content in resealed
    )


async def test_chain_recomputed_after_resealing_holds(
    service: Service, server: Server, owner: Database
) -> None:
    await _fill(service)
    await _rotate(service, owner)

    assert _chain(server) == _hashes(server)
    with server.admin("suite") as connection:
        connection.execute(
            "update flagstone.changes set after_sealed = set_byte(after_sealed, 12, 0) "
            "|| '\\x00' where revision = 1"
        )
    assert _chain(server) != _hashes(server)


async def test_chain_after_shredding_holds(
    service: Service, server: Server, owner: Database
) -> None:
    await _fill(service)
    log = AccessLog(owner)
    await owner.transact(lambda c: data_keys.shred(c, log, "local", origin=ORIGIN))

    assert _chain(server) == _hashes(server)
    answer = await service.client.get(f"{LOCAL}/configurations/a?reveal=true&revision=2")
    assert (answer.status, (await answer.json())["code"]) == (404, "secret_shredded")


async def test_resealing_locked_row_is_retried(
    service: Service, server: Server, owner: Database
) -> None:
    await _fill(service)
    vault, log = service.app[VAULT], AccessLog(owner)
    await owner.transact(lambda c: data_keys.renew(c, vault, log, "local", origin=ORIGIN))
    counts: list[int] = []
    all_but_one = asyncio.Event()

    def report(count: int) -> None:
        counts.append(count)
        if sum(counts) == 7:
            all_but_one.set()

    with server.admin("suite") as connection:
        with connection.transaction():
            connection.execute("select 1 from flagstone.configurations where key = 'a' for update")
            work = asyncio.create_task(data_keys.reseal(owner, vault, "local", report))
            async with asyncio.timeout(HANG_SECONDS):
                await all_but_one.wait()
            async with owner.connection() as other:
                left = await data_keys.pending(other, "local")
            was_done = work.done()
        await work

    assert (left, was_done, sum(counts)) == (1, False, 8)
    async with owner.connection() as other:
        assert await data_keys.pending(other, "local") == 0


class _Held(RingWrapper):
    """Delays its answer, like a slow KMS."""

    def __init__(self, ring: KeyRing) -> None:
        super().__init__(ring)
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def unwrap(self, wrapped: Wrapped) -> bytes:
        self.asked.set()
        await self.may_answer.wait()
        return await super().unwrap(wrapped)


async def test_resealing_never_revives_shredded_values(service: Service, owner: Database) -> None:
    """The danger: a value opened before the destruction, and resealed by a later data key."""
    await _fill(service)
    vault, log = service.app[VAULT], AccessLog(owner)
    await owner.transact(lambda c: data_keys.renew(c, vault, log, "local", origin=ORIGIN))
    assert vault.keys.ring is not None
    held = _Held(vault.keys.ring)

    async with asyncio.timeout(HANG_SECONDS):
        work = asyncio.create_task(data_keys.reseal(owner, Vault(held), "local", lambda _: None))
        await held.asked.wait()
        destroying = asyncio.create_task(
            owner.transact(lambda c: data_keys.shred(c, log, "local", origin=ORIGIN))
        )
        # Longer than it would take without the batch, and less than it waits for a lock.
        await asyncio.wait([destroying], timeout=0.3)
        held.may_answer.set()
        await asyncio.gather(work, destroying)

    async with owner.connection() as connection:
        living = [key for key in await list_data_keys(connection) if not key.destroyed_at]
    answer = await service.client.get(f"{LOCAL}/configurations/a?reveal=true")
    assert (answer.status, (await answer.json())["code"]) == (404, "secret_shredded")
    assert living == []


async def test_app_role_cannot_change_sealed_values(service: Service) -> None:
    await _fill(service)
    vault, log = service.app[VAULT], AccessLog(service.app[DATABASE])
    for work in (
        lambda c: data_keys.renew(c, vault, log, "local", origin=ORIGIN),
        lambda c: data_keys.shred(c, log, "local", origin=ORIGIN),
    ):
        with pytest.raises(Unavailable) as refusal:
            await service.app[DATABASE].transact(work)
        assert refusal.value.code == "schema_unfit"


async def test_destroyed_key_is_dropped_and_missing_key_reported(
    service: Service, owner: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fill(service)
    vault = service.app[VAULT]
    async with owner.connection() as connection:
        await vault.refresh(connection)
        (stored,) = await list_data_keys(connection)
        log = AccessLog(owner)
        await owner.transact(lambda c: data_keys.shred(c, log, "local", origin=ORIGIN))
        # Without a wrapper, only a cached key is available.
        monkeypatch.setattr(vault.keys, "wrapper", None)
        assert (await vault.keys.get(stored)).id == stored.id
        monkeypatch.undo()
        await vault.refresh(connection)
        monkeypatch.setattr(vault.keys, "wrapper", None)
        with pytest.raises(Unavailable):
            await vault.keys.get(stored)

    assert (vault.counts, vault.problem()) == ({}, None)


async def test_data_key_due_for_rotation_is_a_warning(
    service: Service, server: Server, owner: Database
) -> None:
    await _fill(service)
    with server.admin("suite") as connection:
        created_at = datetime.now(UTC) - ROTATION_DUE - timedelta(seconds=1)
        connection.execute("update flagstone.data_keys set created_at = %s", [created_at])
    async with owner.connection() as connection:
        await service.app[VAULT].refresh(connection)
        warned = service.app[VAULT].problem()
        await _rotate(service, owner)
        await service.app[VAULT].refresh(connection)

    assert warned == "data keys older than 90 days: local"
    assert service.app[VAULT].problem() is None


def _sealed(server: Server) -> list[bytes]:
    with server.admin("suite") as connection:
        rows = connection.execute(
            "select sealed from flagstone.configurations where sealed is not null "
            "union all select before_sealed from flagstone.changes where before_sealed is not null "
            "union all select after_sealed from flagstone.changes where after_sealed is not null"
        ).fetchall()
    return [bytes(row[0]) for row in rows]  # type: ignore[call-overload]


def _hashes(server: Server) -> list[bytes]:
    with server.admin("suite") as connection:
        rows = connection.execute(
            "select hash from flagstone.change_sets where environment = 'local' order by revision"
        ).fetchall()
    return [bytes(row[0]) for row in rows]  # type: ignore[call-overload]


def _chain(server: Server) -> list[bytes]:
    """Return the hashes that the rows of the history lead to."""
    hashes: list[bytes] = []
    with server.admin("suite") as connection:
        sets: Sequence[Any] = connection.execute(
            "select revision, kind, actor, message, created_at from flagstone.change_sets "
            "where environment = 'local' order by revision"
        ).fetchall()
        for revision, kind, actor, message, created_at in sets:
            rows: Sequence[Any] = connection.execute(
                "select key, before_version, before_kind, before_value, before_sealed, "
                "after_version, after_kind, after_value, after_sealed "
                "from flagstone.changes where environment = 'local' and revision = %s",
                [revision],
            ).fetchall()
            hashes.append(
                link_hash(
                    hashes[-1] if hashes else GENESIS,
                    Link(
                        environment="local",
                        revision=revision,
                        kind=ChangeKind(kind),
                        actor=actor,
                        message=message,
                        created_at=created_at,
                        changes=[_change(*row) for row in rows],
                    ),
                )
            )
    return hashes


def _change(key: str, *sides: Any) -> Change:
    before, after = _content(key, *sides[:4]), _content(key, *sides[4:])
    entry = Entry(key=key, content=before, version=sides[0], last_version=sides[0] or 0)
    return Change(key=key, before=entry, after=after, version=sides[4])


def _content(key: str, version: int | None, kind: str, value: Any, sealed: Any) -> Content | None:
    if version is None:
        return None
    content = bytes(sealed) if sealed is not None else None
    return Content(kind=Kind(kind), value=value, sealed=sealed_of("local", key, version, content))
