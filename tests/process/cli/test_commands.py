"""The commands next to a running service."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest
from aiohttp import ClientSession

from app.database.migrations import read_files
from app.database.role_names import APP, MIGRATOR
from tests.conftest import Server
from tests.process.conftest import Process, run
from tests.waiting import until


@pytest.mark.slow
async def test_configuration_and_token_commands(
    launch_beside: Callable[..., Process], client: ClientSession, tmp_path: Path
) -> None:
    service = launch_beside()
    await service.start()
    await service.ready()
    file = tmp_path / "some.env"
    file.write_text("A=1\nB='two words'\nC\n")

    dry = await run(launch_beside, "configuration", "import", "staging", str(file), "--dry-run")
    loaded = await run(launch_beside, "configuration", "import", "staging", str(file), "-m", "why")
    changed = await run(launch_beside, "configuration", "set", "staging", "A", '{"n": 2}')
    stale = await run(launch_beside, "configuration", "set", "staging", "A", "3", "--version", "1")
    wrong = await run(launch_beside, "configuration", "set", "staging", "A", "nonsense")
    shown = await run(launch_beside, "configuration", "get", "staging", "A")
    listed = await run(launch_beside, "configuration", "list", "staging")
    created = await run(
        launch_beside, "token", "create", "ci", "--scope", "read", "--environment", "staging"
    )
    token = created[1].strip()

    assert (dry[0], "two words" in dry[1], "nothing was written" in dry[1]) == (0, True, True)
    assert "2 created, 0 updated, 0 deleted, 0 unchanged" in loaded[1]
    assert "staging is at revision 1" in loaded[1]
    assert "C has no = sign" in loaded[1]
    assert (changed[0], "version 2, revision 2" in changed[1]) == (0, True)
    assert (stale[0], "A is at version 2" in stale[1]) == (1, True)
    assert (wrong[0], "must be JSON" in wrong[1]) == (1, True)
    assert json.loads(shown[1])["value"] == {"n": 2}
    assert '"two words"' in listed[1]
    headers = {"X-API-Key": token}
    place = f"{service.url}/v1/environments/staging/configurations/A"

    # A token that is used too often before it is known is also refused with 429.
    async def holds(*statuses: int) -> bool:
        async with client.get(place, headers=headers) as answer:
            return answer.status in statuses

    await until(lambda: holds(200))
    revoked = await run(launch_beside, "token", "revoke", token.split("_")[2])
    await until(lambda: holds(401, 429))
    tokens = await run(launch_beside, "token", "list")
    assert (revoked[0], tokens[0]) == (0, 0)
    assert "local admin" in tokens[1]
    assert token not in tokens[1]
    assert await service.stop() == 0


async def test_exported_environment_is_imported_into_another(
    launch_beside: Callable[..., Process], tmp_path: Path
) -> None:
    await run(launch_beside, "database", "seed")
    file = tmp_path / "local.yaml"

    written = await run(launch_beside, "configuration", "export", "local", str(file))
    shown = await run(launch_beside, "configuration", "export", "local", "--format", "flagd")
    replaced = await run(
        launch_beside, "configuration", "import", "staging", str(file), "--mode", "replace"
    )
    again = await run(launch_beside, "configuration", "import", "staging", str(file))
    wrong = await run(launch_beside, "configuration", "import", "staging", str(__file__))
    difference = await run(launch_beside, "configuration", "diff", "staging", "--against", "local")

    assert (written[0], "5 entries" in written[1]) == (0, True)
    assert json.loads(shown[1])["flags"].keys() == {"banner-colour", "new-checkout"}
    assert "5 created, 0 updated, 0 deleted, 0 unchanged" in replaced[1]
    assert "0 created, 0 updated, 0 deleted, 5 unchanged" in again[1]
    assert (wrong[0], "must end in .json" in wrong[1]) == (1, True)
    assert "no difference" in difference[1]


@pytest.mark.slow
async def test_command_line_shows_and_restores_revisions(
    launch_beside: Callable[..., Process],
) -> None:
    service = launch_beside()
    await service.start()
    await service.ready()
    for value in ("1", "2"):
        # Text that looks like markup is plain text.
        why = f"[/to] {value}"
        await run(launch_beside, "configuration", "set", "staging", "a", value, "-m", why)

    history = await run(launch_beside, "configuration", "history", "staging")
    of_key = await run(launch_beside, "configuration", "history", "staging", "a")
    difference = await run(launch_beside, "configuration", "diff", "staging", "--from", "1")
    against = await run(
        launch_beside, "configuration", "diff", "staging", "--against", "production"
    )
    tried = await run(
        launch_beside, "configuration", "promote", "production", "staging", "a", "--dry-run"
    )
    promoted = await run(launch_beside, "configuration", "promote", "production", "staging", "a")
    reverted = await run(launch_beside, "configuration", "revert", "staging", "2")
    refused = await run(launch_beside, "configuration", "revert", "staging", "1")
    restored = await run(launch_beside, "configuration", "restore", "staging", "0")
    again = await run(launch_beside, "configuration", "restore", "staging", "0")

    assert "[/to] 2" in history[1]
    assert "a changed from 1 to 2" in of_key[1]
    assert "Setting a was created: 1" in of_key[1]
    assert "a changed from 1 to 2" in difference[1]
    assert (difference[0], against[0]) == (0, 0)
    assert "nothing was written" in tried[1]
    assert "production is at revision 1" in promoted[1]
    assert "staging is at revision 3" in reverted[1]
    assert (refused[0], "a is at version 3" in refused[1]) == (1, True)
    assert "staging is at revision 4" in restored[1]
    assert "nothing to change" in again[1]
    assert await service.stop() == 0


@pytest.mark.slow
async def test_flag_commands(launch_beside: Callable[..., Process], tmp_path: Path) -> None:
    service = launch_beside()
    await service.start()
    await service.ready()
    half = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [{"==": [{"var": "age"}, 1]}, {"fractional": [["on", 1], ["off", 1]]}]},
    }
    good, bad = tmp_path / "good.flagd.json", tmp_path / "bad.flagd.json"
    good.write_text(json.dumps({"flags": {"half": half}}))
    bad.write_text(json.dumps({"flags": {"half": half | {"defaultVariant": "often"}}}))
    flagd = ("--format", "flagd")
    context = ("--context", '{"age": 1, "targetingKey": "[bold]me"}')

    linted = await run(launch_beside, "flag", "lint", str(good), *flagd)
    refused = await run(launch_beside, "flag", "lint", str(bad), *flagd)
    loaded = await run(launch_beside, "configuration", "import", "staging", str(good), *flagd)
    evaluated = await run(launch_beside, "flag", "evaluate", "staging", "half")
    explained = await run(launch_beside, "flag", "explain", "staging", "half", *context)
    drawn = await run(launch_beside, "flag", "explain", "staging", "half", *context, "--split")
    early = await run(launch_beside, "flag", "evaluate", "staging", "half", "--revision", "0")
    wrong = await run(launch_beside, "flag", "evaluate", "staging", "half", "--context", "[]")
    stale = await run(launch_beside, "flag", "stale", "staging")

    assert (linted[0], linted[1] == "1 entry, 0 problems, 0 warnings\n") == (0, True)
    assert (refused[0], "half.value.defaultVariant" in refused[1]) == (1, True)
    assert loaded[0] == 0
    assert json.loads(evaluated[1]) == {"reason": "DEFAULT", "variant": "off", "value": False}
    assert explained[0] == 0
    assert "targeting.if[0].== 1 1 → true" in explained[1]
    assert re.search(r"bucket [01] in 0 to 1\n.*\"on\": 0 to 0 \(weight 1\)", explained[1])
    assert explained[1].count("←") == 1
    shares = {row.split()[0]: row.split()[1] for row in drawn[1].splitlines()[1:3]}
    assert shares.keys() == {"on", "off"}
    assert all(4_700 < int(count) < 5_300 for count in shares.values())
    assert (early[0], "There is no such flag" in early[1]) == (1, True)
    assert (wrong[0], "must be an object" in wrong[1]) == (2, True)
    assert (stale[0], stale[1].strip()) == (0, "none")


@pytest.mark.slow
async def test_environment_commands(launch: Callable[..., Process], client: ClientSession) -> None:
    service = launch()
    await service.start()
    await service.ready()
    local = ("environment", "update", "local")
    team = ("environment", "create", "team-a", "--tier", "staging", "--protected")

    dry = await run(launch, *local, "--metadata", '{"owner": "shop"}', "--dry-run")
    result = await run(launch, *local, "--metadata", '{"owner": "shop", "n": 1}', "-m", "why")
    moved = await run(launch, *local, "--metadata", '{"n": null}', "--fractional", "v2")
    stale = await run(launch, *local, "--protected", "--version", "1")
    shown = await run(launch, "environment", "show", "local")
    early = await run(launch, "environment", "show", "local", "--revision", "2")
    history = await run(launch, "configuration", "history", "local", "--limit", "1")
    created = await run(launch, *team, "--metadata", '{"owner": "a"}')
    listed = await run(launch, "environment", "list")

    owner = 'Metadata owner of the environment is added: "shop"'
    assert (dry[0], owner in dry[1], "nothing was written" in dry[1]) == (0, True, True)
    assert (result[0], "local is at revision 2" in result[1]) == (0, True)
    bucketing = "Bucketing of splits changed from generation v3 to v2"
    assert (moved[0], bucketing in moved[1]) == (0, True)
    assert (stale[0], "is at version 3" in stale[1]) == (1, True)
    assert json.loads(shown[1])["metadata"] == {"owner": "shop"}
    assert json.loads(early[1])["metadata"] == {"owner": "shop", "n": 1}
    assert bucketing in history[1]
    assert (created[0], json.loads(created[1])["protected"]) == (0, True)
    assert '{"owner":"a"}' in listed[1]

    async def answers(status: int) -> None:
        async def is_answered() -> bool:
            place = f"{service.url}/v1/environments/team-a"
            async with client.get(place, headers=service.headers) as answer:
                return answer.status == status

        await until(is_answered)

    await answers(200)
    delete = ("environment", "delete", "team-a", "--version")
    protected = await run(launch, *delete, "2")
    await run(launch, "environment", "update", "team-a", "--unprotected")
    old = await run(launch, *delete, "2")
    tried = await run(launch, *delete, "3", "--dry-run")
    deleted = await run(launch, *delete, "3", "-m", "merged")
    verified = await run(launch, "audit", "verify")

    assert (protected[0], "is protected" in protected[1]) == (1, True)
    assert (old[0], "is at version 3" in old[1]) == (1, True)
    assert (tried[0], "nothing was written" in tried[1]) == (0, True)
    assert (deleted[0], "its history ends at revision 3" in deleted[1]) == (0, True)
    assert (verified[0], "team-a" in verified[1]) == (0, True)
    await answers(404)


@pytest.mark.slow
@pytest.mark.first_start
async def test_database_commands(launch: Callable[..., Process]) -> None:
    """Without a service, each command starts the embedded server and stops it at its end."""
    pending = await run(launch, "database", "verify")
    migrated = await run(launch, "database", "migrate")
    status = await run(launch, "database", "status")
    verified = await run(launch, "database", "verify")
    seeded = await run(launch, "database", "seed")
    again = await run(launch, "database", "seed")
    rolled_back = await run(launch, "database", "rollback", "--steps", "2")
    refused = await run(launch, "database", "provision")
    stopped = await run(launch, "database", "stop")

    assert (pending[0], "AddForeignKeys is pending" in pending[1]) == (1, True)
    assert (migrated[0], migrated[1].count("applied ")) == (0, len(read_files()))
    assert (status[0], "AddForeignKeys" in status[1]) == (0, True)
    assert (verified[0], "all applied as written" in verified[1]) == (0, True)
    assert "seeded: local, development" in seeded[1]
    assert "seeded: nothing" in again[1]
    assert (rolled_back[0], rolled_back[1].count("rolled back")) == (0, 2)
    assert (refused[0], "DATABASE_ADMIN_URL" in refused[1]) == (1, True)
    assert "was not running" in stopped[1]


@pytest.mark.slow
async def test_stopped_database_stays_stopped_until_started(
    launch: Callable[..., Process], client: ClientSession
) -> None:
    service = launch(HEARTBEAT_INTERVAL="0.2")
    await service.start()
    await service.ready()

    stopped = await run(launch, "database", "stop")

    async def warned() -> bool:
        async with client.get(f"{service.url}/health/ready") as answer:
            return bool((await answer.json(content_type=None))["status"] == "warn")

    await until(warned)
    again = await run(launch, "database", "stop")
    migrated = await run(launch, "database", "migrate")
    await service.ready()
    assert (stopped[0], "stopped" in stopped[1]) == (0, True)
    assert "was not running" in again[1]
    assert migrated[0] == 0
    assert await service.stop() == 0


async def test_scripts_show_stored_data(launch_beside: Callable[..., Process]) -> None:
    service = launch_beside()
    await service.start()
    await service.ready()

    outputs = {}
    for name in ("configuration_report", "heartbeat_history"):
        script = launch_beside(LOG_LEVEL="error", COLUMNS="200")
        await script.start_module(f"app.scripts.{name}")
        assert script.child is not None
        outputs[name] = (await script.child.wait(), script.log)

    assert outputs["configuration_report"][0] == 0
    assert "█" in outputs["configuration_report"][1]
    assert "3 settings, 2 flags" in outputs["configuration_report"][1]
    assert outputs["heartbeat_history"][0] == 0
    assert "100.00%" in outputs["heartbeat_history"][1]
    assert await service.stop() == 0


async def test_script_without_database_fails_with_one_line(
    launch: Callable[..., Process],
) -> None:
    code, output = await run(
        launch,
        *("configuration", "list", "local"),
        DATABASE_URL="postgresql://nobody:hunter2hunter2@127.0.0.1:9/nothing",
    )

    assert code == 1
    assert output.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in output
    assert "hunter2" not in output


async def test_stored_values_are_shown_unchanged(launch_beside: Callable[..., Process]) -> None:
    """Brackets interpreted as markup would hide a value, or end the command."""
    name = "[red]ops[/x] :smile:"

    for command in (
        ("token", "create", name, "--environment", "local"),
        ("configuration", "set", "staging", "B", "[true, false]", "-m", "[/why]"),
        ("environment", "update", "staging", "--metadata", '{"a": "[/b]"}'),
    ):
        assert (await run(launch_beside, *command))[0] == 0
    tokens = await run(launch_beside, "token", "list")
    values = await run(launch_beside, "configuration", "list", "staging")
    history = await run(launch_beside, "configuration", "history", "staging")
    environments = await run(launch_beside, "environment", "list")

    assert (tokens[0], name in tokens[1]) == (0, True)
    assert (values[0], "[true,false]" in values[1]) == (0, True)
    assert (history[0], "[/why]" in history[1]) == (0, True)
    assert (environments[0], '{"a":"[/b]"}' in environments[1]) == (0, True)


async def test_change_by_sql_warns_until_it_is_accepted(
    launch_beside: Callable[..., Process], server: Server, client: ClientSession
) -> None:
    app_url = launch_beside().environment["DATABASE_URL"]
    name = urlsplit(app_url).path.removeprefix("/")
    password = server.target(MIGRATOR).password
    migrator_url = app_url.replace(
        urlsplit(app_url).netloc, f"{MIGRATOR}:{password.reveal() if password else ''}@"
    )
    with server.admin(name) as admin:
        admin.execute('create index "by\x1b[2Jhand" on flagstone.tokens (name)')
    service = launch_beside()
    await service.start()
    await service.ready()
    async with client.get(f"{service.url}/health", headers=service.headers) as answer:
        checks = (await answer.json(content_type=None))["checks"]

    accept = ("database", "accept-schema", "--message", "Found [b]missing[/b]")
    as_app = await run(launch_beside, *accept)
    accepted = await run(launch_beside, *accept, DATABASE_MIGRATOR_URL=migrator_url)
    again = await run(launch_beside, *accept, DATABASE_MIGRATOR_URL=migrator_url)

    shown = r'+ index CREATE INDEX "by\x1b[2Jhand" ON flagstone.tokens USING btree (name)'
    assert (checks["schema:drift"][0]["status"], checks["schema:drift"][0]["output"]) == (
        "warn",
        shown,
    )
    assert checks["schema:audit"][0]["status"] == "pass"
    assert (as_app[0], "permission denied" in as_app[1]) == (1, True)
    assert (accepted[0], accepted[1].splitlines()) == (0, [shown, "accepted, differences: 1"])
    assert (again[0], again[1].strip()) == (0, "nothing differs")
    assert await service.stop() == 0


async def test_command_error_names_the_mistake(launch_beside: Callable[..., Process]) -> None:
    """In one line: the existing names, or the broken rule."""
    outcomes = await asyncio.gather(
        run(launch_beside, "configuration", "list", "prod"),
        run(launch_beside, "configuration", "set", "local", "k", "hello"),
        run(launch_beside, "flag", "evaluate", "local", "f", "--context", "x"),
    )

    assert [code for code, _ in outcomes] == [1, 1, 1]
    assert [text.splitlines()[-1] for _, text in outcomes] == [
        (
            "error: There is no such environment. "
            "Run `python -m app environment list` to see the environments."
        ),
        "error: VALUE: must be JSON; Expecting value at line 1, column 1; --text stores it as text",
        "error: --context: must be JSON; Expecting value at line 1, column 1",
    ]


async def test_command_without_tables_suggests_the_migration(
    launch: Callable[..., Process], server: Server
) -> None:
    name = server.create_database("never_migrated")
    target = server.target(APP, name)
    ((folder, port),) = target.hosts
    password = quote(target.password.reveal()) if target.password else ""
    query = urlencode({"host": folder, "port": port})
    url = f"postgresql://{target.user}:{password}@/{name}?{query}"
    outcome = await run(launch, "environment", "list", DATABASE_URL=url)
    server.drop_database(name)

    assert outcome[0] == 1
    problem = "error: The database lacks a table of this release."
    assert f"{problem} Run `python -m app database migrate`." in outcome[1]


async def test_unknown_script_lists_existing_scripts(
    launch_beside: Callable[..., Process],
) -> None:
    process = launch_beside()
    await process.start_module("app.scripts", "nope")
    assert process.child is not None

    assert await process.child.wait() == 1
    assert "error: There is no script 'nope'; there are capacity, " in process.log


async def test_export_output_has_no_empty_line(
    launch_beside: Callable[..., Process], tmp_path: Path
) -> None:
    code, text = await run(
        launch_beside, "configuration", "export", "local", str(tmp_path / "out.json")
    )

    assert (code, text) == (0, f"0 entries in {tmp_path / 'out.json'}\n")
