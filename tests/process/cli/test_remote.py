"""The same commands on a database and on a server print the same, and end with the same code."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tests.ports import free_port
from tests.process.cli.conftest import Call, Run, comparable

CONTEXT = ("--context", '{"email": "a@example.org", "targetingKey": "u1"}')
# In this order on an environment with the sample data.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("environment", "list"),
    ("environment", "show", "local"),
    ("configuration", "list", "local"),
    ("configuration", "list", "local", "--prefix", "checkout/", "--kind", "setting", "--json"),
    ("configuration", "list", "production"),
    ("configuration", "set", "local", "a/history", '{"n": [1, null]}', "-m", "[why] <b>"),
    ("configuration", "set", "local", "a/history", "2"),
    ("configuration", "set", "local", "a/history", "3", "--version", "1"),
    ("configuration", "set", "local", "a/history", "3", "--version", "0"),
    ("configuration", "set", "local", "checkout/retries", "99"),
    ("configuration", "set", "local", "checkout/retries", "4"),
    ("configuration", "set", "local", "bad key", "1"),
    ("configuration", "get", "local", "a/history"),
    ("configuration", "get", "local", "missing"),
    ("configuration", "history", "local"),
    ("configuration", "history", "local", "a/history"),
    ("configuration", "history", "local", "--json", "--limit", "2"),
    ("configuration", "history", "local", "missing"),
    ("configuration", "delete", "local", "a/history", "--dry-run"),
    ("configuration", "delete", "local", "a/history", "--version", "1"),
    ("configuration", "delete", "local", "a/history", "-m", "gone"),
    ("configuration", "delete", "local", "a/history"),
    ("configuration", "apply", "local", "changes.json", "--dry-run"),
    ("configuration", "apply", "production", "changes.json"),
    ("configuration", "apply", "production", "changes.json"),
    ("configuration", "apply", "production", "flags.json"),
    ("flag", "list", "local"),
    ("flag", "create", "local", "search"),
    ("flag", "create", "local", "search"),
    ("flag", "create", "local", "theme", "--variants", "blue,green"),
    ("flag", "target", "local", "search", "--if", "plan = pro", "--if", "country in DE,AT"),
    ("flag", "rollout", "local", "search", "25"),
    ("flag", "rollout", "local", "search", "x"),
    ("flag", "rollout", "local", "search", "5", "--variant", "blue"),
    ("flag", "disable", "local", "search", "-m", "slow"),
    ("flag", "enable", "local", "search"),
    ("flag", "enable", "local", "search"),
    ("flag", "show", "local", "search"),
    ("flag", "show", "local", "missing"),
    ("flag", "show", "local", "checkout/retries"),
    ("flag", "list", "local", "--json"),
    ("flag", "list", "local", "--prefix", "sea"),
    ("flag", "evaluate", "local", "new-checkout", *CONTEXT),
    ("flag", "evaluate", "local", "new-checkout", *CONTEXT, "--revision", "0"),
    ("flag", "explain", "local", "new-checkout", *CONTEXT),
    ("flag", "explain", "local", "search", "--context", '{"targetingKey": "1"}'),
    ("flag", "explain", "local", "search", "--split"),
    ("flag", "explain", "local", "missing", "--split"),
    ("flag", "preview", "local", "new-checkout", "draft.json", *CONTEXT),
    ("flag", "preview", "local", "new-checkout", "--delete", "--json"),
    ("flag", "stale", "local"),
    ("flag", "stale", "local", "--json"),
    ("flag", "delete", "local", "theme"),
    ("flag", "delete", "local", "checkout/retries"),
    ("configuration", "diff", "local", "--from", "1"),
    ("configuration", "diff", "local", "--from", "1", "--to", "3", "--json"),
    ("configuration", "diff", "local", "--from", "999"),
    ("configuration", "diff", "local", "--against", "development"),
    ("configuration", "promote", "development", "local", "search", "--dry-run"),
    ("configuration", "promote", "development", "local", "search", "missing"),
    ("configuration", "promote", "development", "local", "search", "checkout/retries"),
    ("configuration", "revert", "local", "4", "--dry-run"),
    ("configuration", "revert", "local", "2"),
    ("configuration", "revert", "local", "9", "-m", "again"),
    ("configuration", "restore", "local", "1", "--dry-run"),
    ("configuration", "restore", "local", "999"),
    ("configuration", "restore", "local", "1"),
    ("configuration", "restore", "local", "1"),
    ("configuration", "export", "local"),
    ("configuration", "export", "local", "--format", "yaml", "--revision", "3"),
    ("configuration", "export", "local", "out.env"),
    ("configuration", "import", "staging", "flags.json", "--dry-run"),
    ("configuration", "import", "staging", "flags.json", "-m", "first"),
    ("configuration", "import", "staging", "flags.json"),
    ("configuration", "import", "staging", "broken.json"),
    ("configuration", "import", "staging", "broken.json", "--lenient"),
    ("environment", "update", "local", "--metadata", '{"owner": "shop"}', "--dry-run"),
    ("environment", "update", "local", "--metadata", '{"owner": "shop"}', "--fractional", "v2"),
    ("environment", "update", "local", "--metadata", "{}"),
    ("environment", "update", "local", "--protected", "--version", "1"),
    ("list", "upload", "local", "beta", "beta.csv", "--dry-run"),
    ("list", "upload", "local", "beta", "beta.csv"),
    ("list", "upload", "local", "beta", "beta.csv"),
    ("list", "upload", "local", "beta", "more.ndjson", "--mode", "add", "-m", "more"),
    ("list", "upload", "local", "beta", "more.ndjson", "--mode", "remove", "--dry-run"),
    ("list", "upload", "local", "missing", "more.ndjson", "--mode", "remove"),
    ("list", "upload", "local", "beta", "wrong.csv"),
    ("list", "upload", "local", "checkout/retries", "beta.csv"),
    ("list", "add", "local", "beta", "eve", "joe", "--expires-at", "2001-01-01"),
    ("list", "add", "local", "missing", "eve"),
    ("list", "add", "local", "beta", ""),
    ("list", "remove", "local", "beta", "joe", "absent", "--dry-run"),
    ("list", "remove", "local", "beta", "joe"),
    ("list", "contains", "local", "beta", "ada"),
    ("list", "contains", "local", "beta", "eve"),
    ("list", "contains", "local", "beta", "joe"),
    ("list", "contains", "local", "beta", "grace"),
    ("list", "contains", "local", "checkout/retries", "ada"),
    # The order of more values differs, because each list has its own salt.
    ("list", "remove", "local", "beta", "grace", "kim"),
    ("list", "export", "local", "beta", "--format", "ndjson"),
    ("list", "export", "local", "beta", "copy.csv"),
    ("list", "export", "local", "missing", "copy.csv"),
    ("environment", "create", "team-a", "--tier", "staging"),
    ("environment", "create", "team-a", "--tier", "staging"),
    ("environment", "list", "--json"),
    ("environment", "delete", "team-a", "--version", "9"),
    ("environment", "delete", "team-a", "--version", "1", "--dry-run"),
    ("environment", "delete", "team-a", "--version", "1", "-m", "The team moved"),
    ("environment", "show", "team-a"),
    ("environment", "update", "development", "--self-approval", "--cover", "a/", "--dry-run"),
    ("environment", "update", "development", "--approvals", "2", "--cover", "a/"),
    ("environment", "update", "development", "--approvals", "0", "--cover", "a/"),
    ("environment", "update", "development", "--cover", "*"),
    ("environment", "list"),
    ("configuration", "set", "development", "a/b", "1"),
    ("configuration", "set", "development", "a/b", "1", "--emergency", " "),
    ("configuration", "set", "development", "a/b", "1", "--emergency", "now", "-m", "why"),
    ("configuration", "restore", "development", "0", "--dry-run"),
    ("configuration", "restore", "development", "0"),
    ("configuration", "set", "development", "a/b", "1", "--propose", "--emergency", "now"),
    ("configuration", "set", "development", "a/b", "1", "--propose", "-m", "why"),
    ("list", "upload", "development", "a/list", "beta.csv"),
    ("list", "upload", "development", "a/list", "beta.csv", "--dry-run"),
    ("configuration", "set", "local", "unprotected", "1", "--propose"),
    ("proposal", "list"),
    ("proposal", "list", "--environment", "development", "--state", "open", "--json"),
    ("proposal", "list", "--environment", "local"),
    ("proposal", "show", "1"),
    ("proposal", "show", "99"),
    ("proposal", "approve", "1"),
    ("proposal", "approve", "1", "--version", "7"),
    ("proposal", "apply", "1"),
    ("proposal", "schedule", "1", "--at", "2030-01-01 09:00:00"),
    ("proposal", "schedule", "1"),
    ("proposal", "edit", "1", "--title", "Another title"),
    ("proposal", "edit", "1"),
    ("proposal", "comment", "1", "[why] <b>"),
    ("proposal", "reject", "1", "--reason", "no"),
    ("proposal", "withdraw", "1", "-t", "over"),
    ("proposal", "submit", "1"),
    ("proposal", "create", "development", "changes.json", "--title", "A draft", "--draft"),
    ("proposal", "create", "development", "flags.json", "--title", "No change set"),
    ("list", "upload", "development", "a/list", "beta.csv", "--propose"),
    ("flag", "create", "local", "launch"),
    ("flag", "plan", "apply-template", "local", "launch", "canary", "--start", "2099-12-01T09:00Z"),
    ("flag", "plan", "show", "local", "launch"),
    ("flag", "plan", "continue", "local", "launch"),
    ("flag", "plan", "skip", "local", "launch", "2", "-m", "why"),
    ("flag", "plan", "skip", "local", "launch", "1"),
    ("flag", "plan", "pause", "local", "launch"),
    ("flag", "plan", "pause", "local", "launch"),
    ("flag", "plan", "continue", "local", "launch"),
    ("flag", "plan", "finish", "local", "launch"),
    ("flag", "plan", "return", "local", "launch"),
    ("flag", "plan", "pause", "local", "missing"),
    ("flag", "plan", "pause", "local", "checkout/retries"),
    ("environment", "delete", "development", "--version", "2"),
    ("token", "create", "ci", "--environment", "local", "--expires-days", "9"),
    ("token", "create", "ci", "--environment", "nowhere"),
    ("token", "create", "ci"),
    ("token", "show", "nope"),
)


@pytest.mark.slow
async def test_commands_print_the_same_on_a_server(run: Run, call: Call, tmp_path: Path) -> None:
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    (tmp_path / "draft.json").write_text(json.dumps(flag))
    put = {"op": "put", "version": 0, "value": 1}
    operations = [put | {"key": "x"}, put | {"key": "y", "environment": "staging"}]
    (tmp_path / "changes.json").write_text(json.dumps({"message": "m", "operations": operations}))
    (tmp_path / "flags.json").write_text(json.dumps({"flags": {"f": flag}}))
    (tmp_path / "beta.csv").write_text("value,expires_at\nada\nbob,2001-01-01T00:00:00Z\nada\n")
    (tmp_path / "more.ndjson").write_text('{"value": "grace", "expires_at": null}\n"kim"\n')
    (tmp_path / "wrong.csv").write_text("ada\na,b,c\n")
    (tmp_path / "broken.json").write_text('{"flags": {"broken": {"state": "ON"}, "g": {}}}')
    assert run("database", "seed").code == 0

    for words in COMMANDS:
        local, remote = run(*words, COLUMNS="300"), call(*words, COLUMNS="300")
        assert comparable(local) == comparable(remote), (words, local, remote)


async def test_token_commands_work_on_a_server(call: Call) -> None:
    created = call("token", "create", "reader", "--environment", "local", "--scope", "read")
    token = created.output.strip()
    token_id = token.split("_")[2]

    reading = call("flag", "list", "local", FLAGSTONE_TOKEN=token, FLAGSTONE_TOKEN_FILE=None)
    writing = call(
        *("configuration", "set", "local", "n", "1"),
        FLAGSTONE_TOKEN=token,
        FLAGSTONE_TOKEN_FILE=None,
    )
    rotated = call("token", "rotate", token_id, "--grace-seconds", "0")
    revoked = call("token", "revoke", rotated.output.split("_")[2])
    listed = json.loads(call("token", "list", "--json").output)
    refused = call("flag", "list", "local", FLAGSTONE_TOKEN=token, FLAGSTONE_TOKEN_FILE=None)

    assert reading.code == 0
    assert (writing.code, "the scope write or propose" in writing.errors) == (1, True), writing
    assert f"{token_id} is valid until" in rotated.errors
    assert revoked.output == f"revoked {rotated.output.split('_')[2]}\n"
    assert [item["name"] for item in listed].count("reader") == 2
    assert (refused.code, "Check that the token is one of this server" in refused.errors) == (
        1,
        True,
    )


@pytest.mark.slow
async def test_emergency_needs_scope_on_a_server(run: Run, call: Call) -> None:
    protect = ("environment", "update", "local", "--approvals", "1")
    emergency = ("configuration", "set", "local", "n", "1", "--emergency", "outage")
    for runner in (run, call):
        assert runner(*protect).code == 0

    local, remote = run(*emergency), call(*emergency)
    history = run("configuration", "history", "local", "n", COLUMNS="200")

    assert (local.code, remote.code) == (0, 1), local
    assert "needs the scope publish" in remote.errors
    assert "outage; emergency, without approval" in history.output


@pytest.mark.slow
async def test_plan_is_controlled_as_approvals_allow(run: Run, call: Call) -> None:
    plan = {"name": "launch", "steps": [{"at": "2099-12-01T09:00:00Z", "state": "DISABLED"}]}
    for runner in (run, call):
        assert runner("flag", "create", "local", "f").code == 0
        assert runner("flag", "plan", "set", "local", "f", json.dumps(plan)).code == 0
        assert runner("environment", "update", "local", "--approvals", "1").code == 0
    pause = ("flag", "plan", "pause", "local", "f")
    finish = ("flag", "plan", "finish", "local", "f")

    results = [runner(*pause, *more) for runner in (run, call) for more in ((), ("--propose",))]
    emergencies = [runner(*finish, "--emergency", "outage") for runner in (run, call)]
    history = run("configuration", "history", "local", "f", COLUMNS="200")

    assert [result.code for result in results] == [1, 0, 1, 0], results
    assert [result.code for result in emergencies] == [0, 1], emergencies
    assert "outage; emergency, without approval" in history.output


async def test_command_is_shown_as_the_work_of_the_token(call: Call) -> None:
    assert call("configuration", "set", "local", "n", "1", "-m", "remote").code == 0

    (item,) = json.loads(call("configuration", "history", "local", "n", "--json").output)

    assert (item["message"], item["actor"].startswith("token:")) == ("remote", True)


async def test_server_options_are_checked(call: Call, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("fs_srv_wrong\n")
    listing = ("environment", "list")
    refused = "Check that the token is one of this server"
    none: dict[str, Any] = {"FLAGSTONE_TOKEN_FILE": None}
    for words, environ, code, text in (
        (("--token-file", str(token_file), *listing), {}, 1, refused),
        ((*listing, "--token-file", str(token_file)), {}, 1, refused),
        ((*listing, "--token", "fs_srv_wrong"), {}, 1, "other accounts can read --token"),
        ((*listing, "--token-file", "nowhere"), {}, 1, "--token-file: cannot be read: no such"),
        ((*listing, "--token", "a", "--token-file", "b"), {}, 1, "together with the token itself"),
        (listing, none, 1, "--token-file: must be given, or FLAGSTONE_TOKEN set"),
        (listing, {"FLAGSTONE_TOKEN": "a b", **none}, 1, "without spaces and line breaks"),
        ((*listing, "--url", "ftp://x"), {}, 1, "--url: must begin with https:// or http://"),
        ((*listing, "--url", "http://"), {}, 1, "and have a host"),
        ((*listing, "--url", "http://[x"), {}, 1, "--url: must be a URL"),
        ((*listing, "--url", "http://u:p@x"), {}, 1, "must have no user name"),
        (listing, {"FLAGSTONE_URL": "x"}, 1, "FLAGSTONE_URL: must begin with"),
        ((*listing, "--token", "a"), {"FLAGSTONE_URL": None}, 1, "--url: must be given"),
        (("database", "status", "--url", "http://x"), {}, 2, "cannot run on a server: omit --url"),
        (("--url", "http://x", "backup", "list"), {}, 2, "cannot run on a server: omit --url"),
        (("flag", "lint", "token", "--token", "x"), {}, 2, "cannot run on a server: omit --token"),
    ):
        result = call(*words, **environ)
        assert (result.code, result.output, text in result.errors) == (code, "", True), result
        assert "u:p" not in result.errors


@pytest.fixture
async def answers() -> AsyncIterator[tuple[list[web.Request], list[Any], Callable[..., Any]]]:
    """Yield the requests, the answers to give, and a function that returns the URL of a server."""
    requests: list[web.Request] = []
    given: list[Any] = []
    runners: list[web.AppRunner] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        # The last answer is given to all further requests.
        following = given.pop(0) if len(given) > 1 else given[0]
        if following is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, type_, body = following
        headers = {"Location": "https://elsewhere.example"} if status == 302 else {}
        return web.Response(status=status, body=body, content_type=type_, headers=headers)

    async def start(tls: ssl.SSLContext | None = None) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        return f"127.0.0.1:{port}"

    yield requests, given, start
    for runner in runners:
        await runner.cleanup()


LIST = (200, "application/json", b'{"items": []}')
BUSY = (503, "text/html", b"<h1>busy</h1>")


@pytest.mark.slow
async def test_answers_that_are_not_flagstone_are_named(answers: Any, run: Run) -> None:
    _, given, start = answers
    host = await start()
    problem = {"status": 404, "title": "x", "code": "gone", "detail": "No \x1b[2J such \u202e."}

    for following, text in (
        ([(404, "text/html", b"<h1>no</h1>")], "the answer is 404 text/html, not one of Flagstone"),
        ([(200, "text/html", b"<h1>hello</h1>")], "the answer is not one of Flagstone"),
        ([(200, "application/json", b'{"items": 1}')], "differs from that of this release"),
        ([(302, "text/plain", b"")], "redirects to another URL"),
        ([(404, "application/problem+json", json.dumps(problem).encode())], "No ?[2J such ?."),
        ([(404, "application/problem+json", b"[")], "not one of Flagstone"),
        ([BUSY], "the answer is 503 text/html"),
        ([None], "the connection was lost"),
    ):
        given[:] = following
        environ = {"FLAGSTONE_URL": f"http://{host}/x/", "FLAGSTONE_TOKEN": "t"}
        result = await asyncio.to_thread(run, "environment", "list", **environ)
        assert (result.code, result.output, text in result.errors) == (1, "", True), result
        assert result.errors.count("\n") == 1, result


async def test_repeated_page_ends_the_listing(answers: Any, run: Run) -> None:
    requests, given, start = answers
    environ = {"FLAGSTONE_URL": f"http://{await start()}", "FLAGSTONE_TOKEN": "t"}
    given[:] = [(200, "application/json", b'{"items": [], "next": "a"}')]

    result = await asyncio.to_thread(run, "token", "list", **environ)

    assert (result.code, "repeats a page" in result.errors) == (1, True), result
    assert [request.query.get("after") for request in requests] == [None, "a"]


async def test_request_is_repeated_with_its_idempotency_key(answers: Any, run: Run) -> None:
    requests, given, start = answers
    host = await start()
    written = {"environment": "e", "key": "k", "version": 1, "revision": 1, "epoch": "e"}
    body = json.dumps({**written, "created": True}).encode()
    missing = {"status": 404, "title": "x", "code": "configuration_unknown", "detail": "No."}
    absent = (404, "application/problem+json", json.dumps(missing).encode())
    given[:] = [None, absent, None, BUSY, (201, "application/json", body)]

    environ = {"FLAGSTONE_URL": f"http://{host}", "FLAGSTONE_TOKEN": "t"}
    result = await asyncio.to_thread(run, "configuration", "set", "e", "a/k", "1", **environ)

    assert result.code == 0, result
    assert [request.method for request in requests] == ["GET", "GET", "PUT", "PUT", "PUT"]
    assert len({request.headers["Idempotency-Key"] for request in requests[2:]}) == 1
    assert {request.headers["Authorization"] for request in requests} == {"Bearer t"}
    assert requests[4].headers["If-None-Match"] == "*"
    assert requests[4].raw_path == "/v1/environments/e/configurations/a%2Fk"


@pytest.mark.slow
async def test_only_a_lost_write_may_have_succeeded(answers: Any, run: Run) -> None:
    _, given, start = answers
    environ = {"FLAGSTONE_URL": f"http://{await start()}", "FLAGSTONE_TOKEN": "t"}
    given[:] = [None]

    for words, may_be_written in (
        (("flag", "evaluate", "e", "f"), False),
        (("flag", "preview", "e", "f", "--delete"), False),
        (("configuration", "revert", "e", "1"), True),
    ):
        errors = (await asyncio.to_thread(run, *words, **environ)).errors
        assert "the connection was lost" in errors
        assert ("may have succeeded" in errors) == may_be_written, errors


async def test_connection_errors_say_what_to_check(answers: Any, run: Run) -> None:
    _, given, start = answers
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with authority.cert_pem.tempfile() as trusted:
        secure, plain, closed = await start(tls), await start(), f"127.0.0.1:{free_port()}"
        given += [LIST]
        for url, more, code, text in (
            (f"https://{secure}", {}, 1, "its certificate is not accepted: "),
            (f"https://{secure}", {"SSL_CERT_FILE": trusted}, 0, ""),
            (f"https://{plain}", {}, 1, "TLS failed. Does the server need http:// instead?"),
            (f"http://{closed}", {}, 1, "connection refused. Check the URL"),
            ("http://nowhere.invalid", {}, 1, "the host name is unknown"),
            ("http://nowhere.invalid", {}, 1, "so the token is not encrypted"),
        ):
            environ = {"FLAGSTONE_URL": url, "FLAGSTONE_TOKEN": "t", **more}
            result = await asyncio.to_thread(run, "environment", "list", **environ)
            assert (result.code, text in result.errors) == (code, True), result
            assert "Errno" not in result.errors
