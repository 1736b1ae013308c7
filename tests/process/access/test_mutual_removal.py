"""Three administrators remove each other at once: by the API, by a command and in the console.

Each round leaves one of them, who gives the others their rights back in the console.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from html import unescape
from itertools import permutations, product

import pytest
from aiohttp import ClientSession, ClientTimeout

from app.access.local_credentials import token_key
from app.cli.actor import operator
from app.database import Connection, sql
from app.database.targets import open_database
from app.settings import load
from tests.examples import examples
from tests.process.access.administrators import (
    Administrator,
    Installation,
    Outcome,
    Record,
    Removal,
)
from tests.process.conftest import Process
from tests.waiting import HANG_SECONDS

ROUNDS = examples(30)
# The first that waits for the lock waits until a command has started too.
WAITING = {
    "DATABASE_LOCK_TIMEOUT": "30",
    "DATABASE_COMMAND_TIMEOUT": "40",
    "REQUEST_TIMEOUT": "100",
}
LAST_ADMIN = (
    "No person would have the scope admin for all keys in all environments any more. "
    "Give it to another person first."
)
SUSPENDED = "An administrator has suspended your account."
# The second is that of a page which begins after the loss.
NO_RIGHTS = ("This needs the scope admin.", "Ask an administrator of this service for a role.")
# One of so many rounds has no queue.
FREE_EVERY = 5
Ring = list[Administrator]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A removal that is asked for. `actor` is its author in the history."""

    actor: str
    removal: Removal
    send: Callable[[], Awaitable[Outcome]]

    @property
    def is_of_person(self) -> bool:
        """Return whether the rights are those of the person, and not of a token or an operator."""
        return self.actor == self.removal.author.actor

    @property
    def record(self) -> Record:
        removal = self.removal
        return self.actor, removal.event, removal.subject, removal.reason


@pytest.fixture
async def installation(launch_beside: Callable[..., Process]) -> AsyncIterator[Installation]:
    processes = [launch_beside(**WAITING), launch_beside(**WAITING)]
    for process in processes:
        await process.start()
        await process.ready()
    settings = load({**processes[0].environment, "DATA_DIR": str(processes[0].data_dir)})
    seed = os.environ.get("FLAGSTONE_SEED", "mutual removal")
    timeout = ClientTimeout(total=HANG_SECONDS)
    async with open_database(settings) as database, ClientSession(timeout=timeout) as client:
        yield Installation(
            processes=processes,
            client=client,
            database=database,
            key=token_key(settings),
            chance=random.Random(seed),  # noqa: S311 - to be repeated
        )
    for process in processes:
        assert await process.stop() == 0


async def new_token(at: Installation, name: str) -> tuple[str, str]:
    """Return the text of a new token that works on each instance, and its actor."""
    body = {"name": name, "scopes": ["read", "admin"], "environments": ["*"]}
    status, answer = await at.call("POST", "tokens", at.processes[0].token, json=body)
    assert status == 201, answer
    await at.until_everywhere("v1/me", **{"X-API-Key": answer["text"]})
    return answer["text"], f"token:{answer['token']['id']}"


async def new_administrator(at: Installation, name: str) -> Administrator:
    person = await at.sign_in(name)
    body = {"person": person.id, "role": "admin", "environments": ["*"], "reason": "Begins."}
    status, answer = await at.call("POST", "grants", at.processes[0].token, json=body)
    assert status == 201, answer
    return replace(person, grant_id=answer["id"])


async def race(at: Installation, attempts: list[Attempt], *, is_queued: bool) -> list[Outcome]:
    """Make the attempts at once. Queued ones all wait for the lock, in this order."""
    if not is_queued:
        return await asyncio.gather(*(attempt.send() for attempt in attempts))
    tasks: list[asyncio.Task[Outcome]] = []

    def check() -> None:
        assert not [task.result() for task in tasks if task.done()]

    async def hold(connection: Connection) -> None:
        await sql.take_lock(connection, name="access")
        for attempt in attempts:
            tasks.append(asyncio.ensure_future(attempt.send()))
            await at.until_waiting(len(tasks), check)

    await at.database.transact(hold)
    return await asyncio.gather(*tasks)


async def reinstate(at: Installation, survivor: Administrator, removal: Removal) -> Administrator:
    """Give the victim the rights back in the console, as the administrator who is left."""
    person = removal.victim
    if removal.suspends:
        status, text = await at.post(f"people/{person.id}/restore", survivor, reason="Back.")
        assert status == 303, text
        # The session from before the suspension does not come back.
        return await at.sign_in(person.name, person.grant_id)
    form = {"person": person.id, "role": "admin", "environments": "*", "reason": "Back."}
    status, text = await at.post("grants/new", survivor, **form)
    assert status == 303, text
    status, listed = await at.call(
        "GET", "grants", at.processes[0].token, params={"person": person.id}
    )
    assert status == 200, listed
    return replace(person, grant_id=listed["items"][0]["id"])


def attempts_of(
    at: Installation, number: int, people: Ring, victims: Ring, tokens: list[tuple[str, str]]
) -> list[Attempt]:
    """Let each of three remove another one. The first two have tokens."""
    chance = at.chance
    api, command, form = (
        Removal(
            author=author,
            victim=victim,
            suspends=chance.choice([True, False]),
            reason=f"Round {number} of {author.name}.",
        )
        for author, victim in zip(people, victims, strict=True)
    )
    (of_api, api_actor), (of_command, command_actor) = tokens
    is_remote = chance.choice([True, False])
    environ = at.on_server(of_command) if is_remote else at.on_database()
    return [
        Attempt(actor=api_actor, removal=api, send=lambda: at.by_api(api, of_api)),
        Attempt(
            actor=command_actor if is_remote else operator(),
            removal=command,
            send=lambda: at.by_command(command, environ),
        ),
        Attempt(actor=form.author.actor, removal=form, send=lambda: at.by_form(form)),
    ]


def check_refusal(attempt: Attempt, outcome: Outcome, done: list[Removal]) -> None:
    """The author reads that they have lost their rights, or that no person would be left."""
    author, text = attempt.removal.author, unescape(outcome.text)
    lost = [removal for removal in done if removal.victim is author]
    if not attempt.is_of_person:
        assert (LAST_ADMIN in text, outcome.answer in {409, 1}) == (True, True), outcome
    elif lost[0].suspends:
        assert (SUSPENDED in text, outcome.answer) == (True, 401), outcome
    else:
        assert (any(words in text for words in NO_RIGHTS), outcome.answer) == (True, 403), outcome


@pytest.mark.slow
async def test_one_of_three_mixed_removals_is_refused(installation: Installation) -> None:
    at = installation
    people = [await new_administrator(at, name) for name in ("Asha", "Ben", "Chen")]
    tokens = [await new_token(at, name) for name in ("api", "command")]
    done: list[Record] = []
    # The removal that a person made, and the one that took the rights of that person.
    before_loss: list[tuple[Record, Record]] = []
    refused_forms = 0
    # Each way around, and each order of the three.
    plans = list(product((1, 2), permutations(range(3))))
    at.chance.shuffle(plans)

    for number in range(ROUNDS):
        for person in people:
            await at.until_everywhere("console/people", Cookie=person.cookie)
        offset, order = plans[number % len(plans)]
        victims = people[offset:] + people[:offset]
        attempts = attempts_of(at, number, people, victims, tokens)

        outcomes = await race(
            at, [attempts[place] for place in order], is_queued=number % FREE_EVERY > 0
        )

        results = [
            (attempts[place], outcome) for place, outcome in zip(order, outcomes, strict=True)
        ]
        succeeded = [attempt for attempt, outcome in results if outcome.is_done]
        removals = [attempt.removal for attempt in succeeded]
        (refused,) = (result for result in results if not result[1].is_done)
        check_refusal(*refused, removals)
        refused_forms += refused[0].is_of_person
        done += [attempt.record for attempt in succeeded]
        before_loss += [
            (attempt.record, other.record)
            for attempt, other in permutations(succeeded, 2)
            if attempt.is_of_person and other.removal.victim is attempt.removal.author
        ]
        removed = [removal.victim for removal in removals]
        (survivor,) = (person for person in people if person not in removed)
        for victim in removed:
            await at.until_everywhere("console/people", is_allowed=False, Cookie=victim.cookie)
        back = {removal.victim.name: await reinstate(at, survivor, removal) for removal in removals}
        people = [back.get(person.name, person) for person in people]

    history = await at.history()
    assert sorted(history) == sorted(done)
    # The latest comes first.
    assert all(history.index(made) > history.index(loss) for made, loss in before_loss)
    assert sorted(await at.logged_removals()) == sorted(done)
    assert await at.logged_refusals("POST", at_least=refused_forms) == refused_forms
    for process in at.processes:
        assert not re.search('"level": ?"error"|database_busy', process.log)
