"""Send requests that are generated from the OpenAPI document to the running service.

Answers must have the document's statuses, content types, headers and shapes. Bad requests must be
refused, and no answer may be 500. `schemathesis.toml` says what is generated, what is left out, and
why. FLAGSTONE_EXAMPLES sets the number of random cases per operation; `make generated` uses 200.

Each operation must also succeed once. Whether random requests do depends on the schemas and on the
requests before them. So operations without a success get more requests, on new data.
"""

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.access import rate_limit as failures
from app.access.guard import TOKENS
from app.access.mac import grant_mac
from app.access.models import Grant, Scope
from app.access.people.models import Person, RoleGrant
from app.access.people.signatures import RowSigner
from app.configuration.snapshots.reading import FOLLOWER
from app.http.keys import DURATIONS
from app.server.routes import describe
from app.settings import Secret
from tests.conftest import Admin, Server, Service, clean
from tests.paths import ROOT

_EXAMPLES = int(os.environ.get("FLAGSTONE_EXAMPLES", "8"))
_ROUNDS_MAX = 5
_FURTHER_EXAMPLES = 40
_FINDINGS_CHARACTERS_MAX = 8_000

# It needs a plan in the right state, its version and a step at once.
_RARELY_SUCCEEDS = {("POST", "/v1/environments/{environment}/flags/{key}/plan/{action}")}
# Streams do not end, and a ticket cannot be generated.
_STREAMS = {
    ("GET", "/v1/environments/{environment}/events"),
    ("GET", "/v1/proposals/events"),
    ("GET", "/ofrep/v1/streams/{ticket}"),
}


async def _generate(service: Service, *options: str) -> str:
    """Run the generator in its own process. Return its findings; "" means none."""
    of_all = await service.token(*Scope)
    of_one_environment = await service.token(Scope.EVALUATE, environments=("local",))
    hidden = (of_all, of_one_environment, service.admin_token)
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", "tests/api/http/schemathesis.toml"),
        *("run", f"{service.url}/openapi.json", "--generation-deterministic", *options),
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
    return "" if process.returncode == 0 else _findings(output.decode())


def _findings(output: str) -> str:
    """Return the part of the output that describes the failures, and the operations that failed."""
    first = re.search(r"^=+ (?:ERRORS|FAILURES) =+$", output, re.MULTILINE)
    described = output[first.start() :] if first else output
    operations = sorted(set(re.findall(r"^_{3,} (.+?) _{3,}$", described, re.MULTILINE)))
    return f"{described[:_FINDINGS_CHARACTERS_MAX]}\nThe findings are of: {', '.join(operations)}"


@pytest.mark.slow
async def test_operations_match_the_document(
    service: Service,
    server: Server,
    cleaner: Admin,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # The generator sends more bad tokens than the rate limit allows.
    monkeypatch.setattr(failures, "ATTEMPTS_MAX", 1_000_000)
    ids = _operations()
    unsuccessful = set(ids) - _STREAMS - _RARELY_SUCCEEDS
    options = ["--max-examples", str(_EXAMPLES)]
    for seed in range(_ROUNDS_MAX):
        await _fill(service, server, cleaner)
        before = _good_answers(service)
        findings = await _generate(service, *options)
        good = {operation for operation, _ in _good_answers(service) - before}
        # Otherwise the log of the requests would follow the findings, and hide them.
        capfd.readouterr()
        assert not findings, findings
        assert good <= set(ids)
        unsuccessful -= good
        if not unsuccessful:
            break
        chosen = (f"--include-operation-id={ids[operation]}" for operation in unsuccessful)
        options = ["--max-examples", str(_FURTHER_EXAMPLES), "--seed", str(seed), *chosen]

    assert not unsuccessful, f"These never succeeded: {sorted(unsuccessful)}"
    # The generator must not have revoked the administrator's token.
    assert (await service.client.get("/v1/tokens")).status == 200


def _good_answers(service: Service) -> set[tuple[tuple[str, str], int]]:
    """Return the number of successful answers of each operation, from the metrics."""
    return {
        ((labels.method, labels.route), sum(series.counts))
        for labels, series in service.app[DURATIONS]
        if labels.status < 300
    }


async def _fill(service: Service, server: Server, cleaner: Admin) -> None:
    """Replace the data with those that `schemathesis.toml` names."""
    await asyncio.to_thread(clean, cleaner)
    await service.app[FOLLOWER].refresh()
    for environment in ("local", "staging"):
        await _fill_entries(service, f"/v1/environments/{environment}")
    _fill_tokens(server, service.app[TOKENS].key)
    _fill_people(server, service.app[TOKENS].key)
    _fill_grants(server, service.app[TOKENS].key)
    await _fill_roles_and_projects(service)
    await _fill_proposals(service, server)


async def _fill_entries(service: Service, environment: str) -> None:
    """Make five revisions. Each has the flags, and reverting none of them removes these."""
    flag = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
    steps = [
        {"at": f"{year}-01-01T00:00:00Z", "rollout": {"variant": "on", "percent": percent}}
        for year, percent in ((2020, 10), (2100, 50))
    ]
    planned = flag | {"plan": {"name": "launch", "steps": steps}}
    setting = {"op": "put", "value": "of a shop"}
    flags: list[dict[str, object]] = [
        {"op": "put", "kind": "flag", "key": "new-checkout", "value": flag},
        {"op": "put", "kind": "flag", "key": "planned", "value": planned},
    ]
    revisions: list[tuple[int, list[dict[str, object]]]] = [
        (0, [*flags, {**setting, "key": "generated"}]),
        (0, [{**setting, "key": "generated/a"}]),
        (0, [{**setting, "key": "generated/c"}]),
        (1, flags),
    ]
    for version, operations in revisions:
        body = {"operations": [{**operation, "version": version} for operation in operations]}
        answer = await service.client.post(f"{environment}/changes", json=body)
        assert answer.status == 200, await answer.text()
    uploaded = await service.client.put(
        f"{environment}/lists/generated-list",
        data="ada\n",
        headers={"Content-Type": "text/csv", "If-None-Match": "*"},
    )
    assert uploaded.status == 201, await uploaded.text()


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


def _fill_grants(server: Server, key: Secret) -> None:
    """Insert grants with the ids of `schemathesis.toml`."""
    with server.admin("suite") as connection:
        for number in range(5):
            grant = RoleGrant(
                id=f"generated200{number}",
                group_name=f"generated {number}",
                role="viewer",
                environments=frozenset({"local"}),
                prefix="",
                reason="generated",
                created_by="test",
                created_at=datetime.now(UTC),
            )
            connection.execute(
                "insert into flagstone.grants "
                "(id, mac, group_name, role, environments, prefix, reason, created_by, created_at) "
                "values (%s, %s, %s, 'viewer', '{local}', '', 'generated', 'test', %s)",
                [grant.id, RowSigner(key).signed(grant).mac, grant.group_name, grant.created_at],
            )


async def _fill_roles_and_projects(service: Service) -> None:
    """Create those of `schemathesis.toml`. Instances then read the inserted grants as well."""
    for number in range(3):
        name = f"generated-{number}"
        role = {"name": name, "scopes": ["read"]}
        project = {"name": name, "prefix": f"{name}/", "owner_group": "leads"}
        for path, body in (("roles", role), ("projects", project)):
            answer = await service.client.post(f"/v1/{path}", json=body)
            assert answer.status == 201, await answer.text()


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


def _operations() -> dict[tuple[str, str], str]:
    """Return the ids of all operations, by method and path."""
    return {
        (method.upper(), path): operation["operationId"]
        for path, operations in describe()["paths"].items()
        for method, operation in operations.items()
    }
