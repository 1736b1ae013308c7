"""Administrators of a service with two instances, who remove each other."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiohttp import ClientSession

from app.access.events import Origin
from app.access.log import AccessLog
from app.access.people.sign_in import PersonIdentity, sign_in
from app.access.sessions import service as sessions
from app.database import Connection, Database
from app.settings import Secret
from tests.process.conftest import Process, run_alone
from tests.waiting import until

# A command that needs its database fails.
_NO_DATABASE = {"DATABASE_URL": "postgresql://a@127.0.0.1:9/none"}
# Actor, event, subject and reason of a removal.
Record = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Administrator:
    """A person with the role admin everywhere. `cookie` is that of their session."""

    id: str
    name: str
    cookie: str
    grant_id: str = ""

    @property
    def actor(self) -> str:
        return f"person:{self.id}"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """One administrator takes the rights of another."""

    author: Administrator
    victim: Administrator
    suspends: bool
    reason: str

    @property
    def subject(self) -> str:
        return self.victim.id if self.suspends else self.victim.grant_id

    @property
    def event(self) -> str:
        return "person_suspended" if self.suspends else "grant_revoked"


class Outcome(NamedTuple):
    """`answer` is a status or an exit code, and `text` is what the author reads."""

    is_done: bool
    answer: int
    text: str


@dataclass(kw_only=True)
class Installation:
    """Two instances on one database, and a pool of the test on it."""

    processes: list[Process]
    client: ClientSession
    database: Database
    key: Secret
    chance: random.Random

    @property
    def url(self) -> str:
        """The URL of one of the instances, a random one each time."""
        return self.chance.choice(self.processes).url

    async def sign_in(self, name: str, grant_id: str = "") -> Administrator:
        """Sign in as the callback of a provider does."""
        log, origin = AccessLog(self.database), Origin(actor="test")
        identity = PersonIdentity(issuer="https://login.example.com", subject=name, name=name)

        async def work(connection: Connection) -> Administrator:
            person = await sign_in(connection, log, self.key, identity, origin=origin)
            session = await sessions.begin(
                *(connection, log, self.key, person.principal), origin=origin, user_agent="test"
            )
            cookie = f"flagstone={session.text}"
            return Administrator(id=person.id, name=name, cookie=cookie, grant_id=grant_id)

        return await self.database.transact(work)

    async def by_api(self, removal: Removal, token: str) -> Outcome:
        method, path = "DELETE", f"grants/{removal.subject}"
        options: dict[str, Any] = {"params": {"reason": removal.reason}}
        if removal.suspends:
            method, path = "POST", f"people/{removal.subject}/suspend"
            options = {"json": {"reason": removal.reason}}
        status, answer = await self.call(method, path, token, **options)
        return Outcome(status == 200, status, answer.get("detail", ""))

    async def by_command(self, removal: Removal, environ: dict[str, str]) -> Outcome:
        words = ("person", "suspend") if removal.suspends else ("grant", "revoke")
        confirmed = ("--reason", removal.reason, "--confirm", removal.subject)
        result = await run_alone(*words, removal.subject, *confirmed, environ=environ)
        return Outcome(result.code == 0, result.code, result.errors)

    async def by_form(self, removal: Removal) -> Outcome:
        path = f"grants/{removal.subject}/revoke"
        if removal.suspends:
            path = f"people/{removal.subject}/suspend"
        status, text = await self.post(path, removal.author, reason=removal.reason)
        return Outcome(status == 303, status, text)

    def on_server(self, token: str) -> dict[str, str]:
        """Return the environment of a command that calls an instance."""
        return {**_NO_DATABASE, "FLAGSTONE_URL": self.url, "FLAGSTONE_TOKEN": token}

    def on_database(self) -> dict[str, str]:
        """Return the environment of a command that has a pool of its own."""
        process = self.processes[0]
        return {**process.environment, "DATA_DIR": str(process.data_dir)}

    async def call(self, method: str, path: str, token: str, **options: Any) -> tuple[int, Any]:
        """Send a request to the API of an instance."""
        headers = {"X-API-Key": token}
        async with self.client.request(
            method, f"{self.url}/v1/{path}", headers=headers, **options
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, path: str, author: Administrator, **form: str) -> tuple[int, str]:
        """Send a form to the console of an instance."""
        headers = {"Cookie": author.cookie, "Sec-Fetch-Site": "same-origin"}
        async with self.client.post(
            f"{self.url}/console/{path}", data=form, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, await answer.text()

    async def until_everywhere(self, path: str, *, is_allowed: bool = True, **headers: str) -> None:
        """Wait until each instance answers a request with 200, or does not."""
        for process in self.processes:

            async def is_reached(url: str = f"{process.url}/{path}") -> bool:
                async with self.client.get(url, headers=headers, allow_redirects=False) as answer:
                    return (answer.status == 200) is is_allowed

            await until(is_reached)

    async def until_waiting(self, count: int, check: Callable[[], None]) -> None:
        """Wait until this many transactions wait for a lock."""

        async def is_reached() -> bool:
            async with self.database.connection() as connection:
                found = await connection.fetchval(
                    "select count(*) from pg_stat_activity "
                    "where datname = current_database() and wait_event_type = 'Lock'"
                )
                return bool(found == count)

        await until(is_reached, check)

    async def history(self) -> list[Record]:
        """Return the removals, the latest first."""
        found = await self._items("access/history")
        return [
            (item["actor"], item["event"], item["subject"], item["reason"])
            for item in found
            if item["event"] in {"grant_revoked", "person_suspended"}
        ]

    async def logged_removals(self) -> list[Record]:
        """Return the same from the access log."""
        found = await self._items("access-log", event="authz_change")
        removals = []
        for item in found:
            event, _, reason = item["detail"].partition(": ")
            if event in {"grant revoked", "person suspended"}:
                row = (item["actor"], event.replace(" ", "_"), item["resource"], reason)
                removals.append(row)
                assert item["decision"] == "allowed"
        return removals

    async def logged_refusals(self, method: str, *, at_least: int) -> int:
        """Return how many requests were refused for a lack of rights. Instances write them late."""
        counted = 0

        async def is_reached() -> bool:
            nonlocal counted
            found = await self._items("access-log")
            counted = sum(
                item["count"]
                for item in found
                if (item["decision"], item["method"]) == ("refused", method)
            )
            return counted >= at_least

        await until(is_reached)
        return counted

    async def _items(self, path: str, **query: str) -> list[dict[str, Any]]:
        token, before = self.processes[0].token, dict[str, str]()
        items: list[dict[str, Any]] = []
        while True:
            params = {"limit": "500", **query, **before}
            status, page = await self.call("GET", path, token, params=params)
            assert status == 200, page
            items += page["items"]
            if page["next"] is None:
                return items
            before = {"before": str(page["next"])}
