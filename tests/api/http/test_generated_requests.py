"""Send requests that are generated from the OpenAPI document to the running service.

Answers must have the document's statuses, content types, headers and shapes. Bad requests must be
refused, and no answer may be 500. `schemathesis.toml` says what is generated, what is left out, and
why. FLAGSTONE_EXAMPLES sets the number of random cases per operation; `make generated` uses 200.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.access import rate_limit as failures
from app.access.guard import TOKENS
from app.access.mac import grant_mac
from app.access.models import Grant, Scope
from app.access.people.models import Person
from app.access.people.signatures import RowSigner
from app.http.keys import DURATIONS
from app.server.routes import describe
from app.settings import Secret
from tests.conftest import Server, Service
from tests.paths import ROOT

_EXAMPLES = int(os.environ.get("FLAGSTONE_EXAMPLES", "8"))

# It needs a plan in the right state, its version and a step at once.
_RARELY_SUCCEEDS = {("POST", "/v1/environments/{environment}/flags/{key}/plan/{action}")}
# Streams do not end, and a ticket cannot be generated.
_STREAMS = {
    ("GET", "/v1/environments/{environment}/events"),
    ("GET", "/v1/proposals/events"),
    ("GET", "/ofrep/v1/streams/{ticket}"),
}


async def _generate(service: Service) -> tuple[int | None, str]:
    """Run the generator in its own process. Return its exit code and output."""
    of_all = await service.token(*Scope)
    of_one_environment = await service.token(Scope.EVALUATE, environments=("local",))
    hidden = (of_all, of_one_environment, service.admin_token)
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", "tests/api/http/schemathesis.toml"),
        *("run", f"{service.url}/openapi.json", "--generation-deterministic"),
        *("--max-examples", str(_EXAMPLES)),
        cwd=ROOT,
        # No other variables: coverage would measure the generator, and a CI's change its behaviour.
        env={
            "PATH": os.environ["PATH"],
            "TOKEN": of_all,
            "EVALUATE_TOKEN": of_one_environment,
            "KEPT_TOKENS": " ".join(text.split("_")[2] for text in hidden),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_operations_match_the_document(
    service: Service, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The generator sends more bad tokens than the rate limit allows.
    monkeypatch.setattr(failures, "ATTEMPTS_MAX", 1_000_000)
    await _fill(service)
    _fill_tokens(server, service.app[TOKENS].key)
    _fill_people(server, service.app[TOKENS].key)
    await _fill_proposals(service, server)
    before = _good_answers(service)

    code, output = await _generate(service)

    good = {operation for operation, _ in _good_answers(service) - before}
    assert code == 0, output
    # Each operation succeeded at least once.
    assert good | _RARELY_SUCCEEDS == (_operations() - _STREAMS) | _RARELY_SUCCEEDS
    # The generator must not have revoked the administrator's token.
    assert (await service.client.get("/v1/tokens")).status == 200


def _good_answers(service: Service) -> set[tuple[tuple[str, str], int]]:
    """Return the number of successful answers of each operation, from the metrics."""
    return {
        ((labels.method, labels.route), sum(series.counts))
        for labels, series in service.app[DURATIONS]
        if labels.status < 300
    }


async def _fill(service: Service) -> None:
    flag = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
    setting = {"value": "of a shop"}
    steps = [
        {"at": f"{year}-01-01T00:00:00Z", "rollout": {"variant": "on", "percent": percent}}
        for year, percent in ((2020, 10), (2100, 50))
    ]
    planned = flag | {"plan": {"name": "launch", "steps": steps}}
    for environment in ("local", "staging"):
        for key, content in (
            ("generated", setting),
            ("generated/a", setting),
            ("generated/c", setting),
            ("planned", {"kind": "flag", "value": planned}),
            # Written last: reverts do not remove it, and every restored revision has it.
            ("new-checkout", {"kind": "flag", "value": flag}),
        ):
            answer = await service.client.put(
                f"/v1/environments/{environment}/configurations/{key}",
                json=content,
                headers={"If-None-Match": "*"},
            )
            assert answer.status == 201


def _fill_tokens(server: Server, key: Secret) -> None:
    """Insert tokens with the ids of `schemathesis.toml`, enough to read, replace and revoke."""
    grant = Grant(
        scopes=frozenset({Scope.READ}), environments=frozenset({"local"}), expires_at=None
    )
    now = datetime.now(UTC)
    with server.admin("suite") as connection:
        for number in range(10):
            token_id = f"generated000{number}"
            connection.execute(
                "insert into flagstone.tokens "
                "(id, name, mac, grant_mac, scopes, environments, created_by, created_at) "
                "values (%s, 'generated', sha256(''), %s, '{read}', '{local}', 'test', %s)",
                [token_id, grant_mac(key, token_id, grant, now), now],
            )


def _fill_people(server: Server, key: Secret) -> None:
    """Insert people with the ids of `schemathesis.toml`, as if they had signed in."""
    now = datetime.now(UTC)
    with server.admin("suite") as connection:
        for number in range(5):
            person = Person(
                id=f"generated100{number}",
                issuer="https://id.example",
                subject=f"subject {number}",
                name="generated",
                email="",
                groups=(),
                first_seen_at=now,
                last_seen_at=now,
                claims_at=now,
                suspended_at=None,
            )
            connection.execute(
                "insert into flagstone.people (id, mac, issuer, subject, name) "
                "values (%s, %s, %s, %s, %s)",
                [
                    person.id,
                    RowSigner(key).signed(person).mac,
                    person.issuer,
                    person.subject,
                    person.name,
                ],
            )


async def _fill_proposals(service: Service, server: Server) -> None:
    """Create proposals of another person with the ids of `schemathesis.toml`.

    Each third one is a draft.
    """
    with server.admin("suite") as connection:
        connection.execute("alter table flagstone.proposals alter id restart")
    headers = {"X-API-Key": await service.token(Scope.READ, Scope.WRITE)}
    for number in range(60):
        operation = {"op": "put", "key": f"p{number}", "version": 0, "value": number}
        body = {
            "title": "generated",
            "environment": "staging",
            "operations": [operation],
            "draft": number % 3 == 0,
        }
        answer = await service.stranger.post("/v1/proposals", json=body, headers=headers)
        assert answer.status == 201


def _operations() -> set[tuple[str, str]]:
    paths = describe()["paths"]
    return {(method.upper(), path) for path in paths for method in paths[path]}
