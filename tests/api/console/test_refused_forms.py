"""Each form of the console that refuses its author adds one row to the access log.

The lines come from the table of pages: a new form needs a line here.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from app.access.guard import ACCESS_LOG
from app.access.models import PERSONAL_SCOPES, Scope
from app.access.people.edit import AccessEdit
from app.console.routes import PAGES
from tests.api.access.test_authority_races import administrator, behind
from tests.api.configuration.proposal_calls import person, put, write
from tests.conftest import Admin, Server, Service
from tests.factories import flag
from tests.people import SignedIn, give, sign_in_person

CONSOLE = Path(__file__).parents[3] / "app/console"
_PATTERN = re.compile(r":(?:[^{}]|{[^{}]*})*}")
# The forms with their conditions for a signed-in caller, by the path of their page.
FORMS = {
    _PATTERN.sub("}", page.path): page
    for page in PAGES
    if page.method == "POST" and page.scopes is not None
}
ENVIRONMENT = "/console/environments/{environment}"
PROPOSAL = "/console/proposals/{proposal}"
WHY = {"reason": "r", "version": "1"}
# Forms that change who may do what: the right is lost while the form waits for the lock.
OVERTAKEN: dict[str, dict[str, Any]] = {
    "/console/tokens/new": {"name": "t", "scopes": "read", "environments": "*", "days": "30"},
    "/console/tokens/{id}/rotate": {"grace_seconds": "0"},
    "/console/tokens/{id}/revoke": {},
    "/console/people/{id}/suspend": WHY,
    "/console/people/{id}/restore": WHY,
    "/console/grants/new": {"group": "g", "role": "viewer", "environments": "*"} | WHY,
    "/console/grants/{id}/revoke": WHY,
    "/console/roles/new": {"name": "b", "scopes": "read"},
    "/console/roles/{name}": {"scopes": "read"} | WHY,
    "/console/roles/{name}/delete": WHY,
    "/console/projects/new": {"name": "b", "prefix": "b/", "owner_group": "g"},
    "/console/projects/{name}": {"owner_group": "h"} | WHY,
    "/console/projects/{name}/delete": WHY,
    f"{ENVIRONMENT}/environment-delete": {"version": "1", "confirmation": "staging"},
}
OWN, FOREIGN = "payments/limit", "search/limit"
_DEFINITION = {"version": "0", "view": "json", "json": '{"and": [true]}', "action": "save"}
# Forms of a caller with the keys below `payments/` in staging alone, with what reaches further.
FAR: dict[str, dict[str, Any]] = {
    f"{ENVIRONMENT}/new-flag": {
        "key": "search/new",
        "type": "boolean",
        "environment": "staging",
    },
    f"{ENVIRONMENT}/flag-actions": {
        "action": "delete",
        "flag": "search/flag",
        "step": "apply",
        "reviewed": "x",
    },
    f"{ENVIRONMENT}/settings": {
        "key": "search/new",
        "kind": "setting",
        "type": "text",
        "value": "1",
        "version": "0",
    },
    f"{ENVIRONMENT}/settings-rename/{{key}}": {"new_key": "search/new", "version": "1"},
    f"{ENVIRONMENT}/segments-draft": _DEFINITION | {"key": "search/new"},
    f"{ENVIRONMENT}/transfer": {"text": f'{{"entries": {{"{FOREIGN}": {{"value": 1}}}}}}'},
    f"{ENVIRONMENT}/promote": {"source": "production", "key": OWN, "step": "write"},
    f"{ENVIRONMENT}/flag-copy/{{key}}": {"source": "production"},
    f"{ENVIRONMENT}/revert/{{revision}}": {},
    f"{ENVIRONMENT}/restore/{{revision}}": {},
    f"{PROPOSAL}/edit": {"version": "1"},
    f"{PROPOSAL}/{{action}}": {"version": "1"},
}
_KEY = "The guard checks the key of the path, and the form names no other one."
_ALL_KEYS = "The guard checks the right for all keys."
_NOTHING = "It writes nothing."
# Forms that the guard alone refuses, with the reason.
BY_GUARD = {
    "/console/sessions/end": "It ends the sessions of the caller.",
    "/console/sessions/{id}/end": "Sessions of others do not exist for the caller.",
    "/console/new-environment": _ALL_KEYS,
    f"{ENVIRONMENT}/environment": _ALL_KEYS,
    f"{ENVIRONMENT}/export": _NOTHING,
    f"{ENVIRONMENT}/flag-filters": _NOTHING,
    f"{PROPOSAL}/try": _NOTHING,
    f"{ENVIRONMENT}/settings-draft": _NOTHING,
    f"{ENVIRONMENT}/segments-preview": _NOTHING,
    f"{ENVIRONMENT}/settings-copy/{{key}}": "It offers no environment without the right.",
    **{
        path: _KEY
        for path in FORMS
        if path.endswith("/{key}") and path not in FAR and "settings-copy" not in path
    },
}


async def refusals(service: Service, cleaner: Admin) -> list[tuple[object, ...]]:
    """Return the event and the route of each refusal that the access log has."""
    await service.app[ACCESS_LOG].run_once()
    return cleaner.execute(
        "select event, route, count from flagstone.access_log where decision = 'refused'"
    ).fetchall()


async def post(
    service: Service, path: str, fields: dict[str, Any], **headers: str
) -> tuple[int, str]:
    headers = {"Origin": service.url} | headers
    async with service.stranger.post(
        path, data=fields, headers=headers, allow_redirects=False
    ) as answer:
        return answer.status, await answer.text()


def logged(path: str) -> list[tuple[object, ...]]:
    return [("authz_fail", path, 1)]


def test_every_form_is_posted() -> None:
    assert not OVERTAKEN.keys() & FAR.keys()
    assert FORMS.keys() == OVERTAKEN.keys() | FAR.keys() | BY_GUARD.keys()


def test_modules_do_not_map_errors_themselves() -> None:
    """The guard logs what a page shows only if its status is that of `shown_status`."""
    mapping = {
        str(file.relative_to(CONSOLE))
        for file in CONSOLE.rglob("*.py")
        if "problems.STATUS" in file.read_text()
    }

    assert mapping == {"forms.py", "pages.py", "sign_in.py"}


@pytest.mark.parametrize("path", FORMS)
async def test_form_after_the_loss_of_rights_is_logged(
    service: Service, cleaner: Admin, path: str
) -> None:
    """The page was opened before."""
    asha = await sign_in_person(service)
    names = dict.fromkeys(("id", "name", "key", "action", "proposal", "revision"), "1")
    names |= {"action": "approve", "environment": "staging"}

    status, text = await post(
        service, path.format(**names), {"version": "1"}, Cookie=f"flagstone={asha.text}"
    )

    assert status == 403, text
    assert await refusals(service, cleaner) == logged(path)


@pytest.mark.parametrize("path", OVERTAKEN)
async def test_form_behind_the_loss_of_rights_is_logged(
    service: Service, server: Server, cleaner: Admin, path: str
) -> None:
    loss = "delete from grants where 'person:' || person_id = $1"

    status, text = await overtaken(service, server, path, loss)

    assert status == 403, text
    assert await refusals(service, cleaner) == logged(path)


@pytest.mark.parametrize("path", OVERTAKEN)
async def test_form_behind_the_end_of_its_session_is_logged(
    service: Service, server: Server, cleaner: Admin, path: str
) -> None:
    loss = "update sessions set revoked_at = now() where actor = $1"

    status, text = await overtaken(service, server, path, loss)

    assert status == 401, text
    ((event, *row),) = await refusals(service, cleaner)
    assert event in {"authz_fail", "authn_login_fail"}
    assert row == [path, 1]


async def overtaken(service: Service, server: Server, path: str, loss: str) -> tuple[int, str]:
    """Return the answer to a form that waits until its author has lost their rights."""
    names, author = await names_of(service, path), await administrator(service, "asha")
    address, cookie = path.format(**names), {"Cookie": f"flagstone={author.text}"}

    async def revoke(edit: AccessEdit) -> None:
        await edit.connection.execute(loss, author.person.actor)

    answer: tuple[int, str] = await behind(
        service, server, revoke, lambda: post(service, address, OVERTAKEN[path], **cookie)
    )
    return answer


async def names_of(service: Service, path: str) -> dict[str, str]:
    """Return the names in the path of a form that changes who may do what."""
    other: SignedIn = await administrator(service, "ben")
    grant = await give(service, "platform", "viewer")
    for kind, body in (
        ("roles", {"name": "a", "scopes": ["read"]}),
        ("projects", {"name": "a", "prefix": "a/", "owner_group": "leads"}),
    ):
        assert (await service.client.post(f"/v1/{kind}", json=body)).status == 201
    token = await service.token(*PERSONAL_SCOPES)
    by_noun = {
        "tokens": token.split("_")[2],
        "people": other.person.id,
        "grants": grant.id,
    }
    id_ = by_noun.get(path.split("/")[2], "")
    return {"id": id_, "name": "a", "environment": "staging"}


@pytest.mark.parametrize("path", FAR)
async def test_form_that_reaches_too_far_is_logged(
    service: Service, cleaner: Admin, path: str
) -> None:
    entries = (put(OWN, 1), put(FOREIGN, 1), put("search/flag", flag(), kind="flag"))
    await write(service, *entries)
    changed = await write(service, put(OWN, 2, 1), put(FOREIGN, 2, 1))
    reviewer = await person(service)
    proposal = await reviewer.propose(put(OWN, 3, 2), put(FOREIGN, 3, 2))
    limited = await person(
        service,
        *(Scope.READ, Scope.WRITE),
        environments=("staging",),
        prefixes=("payments/",),
    )
    revision = changed["revision"] - ("restore" in path)
    names = {"environment": "staging", "key": OWN, "action": "approve"}
    names |= {"proposal": str(proposal["id"]), "revision": str(revision)}

    status, text = await post(
        service, path.format(**names), FAR[path], **{"X-API-Key": limited.token}
    )

    assert status == 403, text
    assert await refusals(service, cleaner) == logged(path)
