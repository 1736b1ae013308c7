"""flagd's sync service by gRPC: documents, changes, access, limits, and hostile clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
import trustme
from grpc import aio

from app.access.log import AccessLog
from app.access.models import Scope
from app.components import Status
from app.crypto.secret import Secret
from app.flags.flagd_sync.component import FlagdSync, GrpcMissingError
from app.settings import GrpcAccess, GrpcSettings
from tests.api.flags import grpc_frames as frames
from tests.api.flags.flagd import LOCAL
from tests.api.flags.grpc_client import Client, report, serving
from tests.conftest import Service
from tests.waiting import HANG_SECONDS, until

BEARER = {"access": GrpcAccess.BEARER}


def _flag(default: str = "on") -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": default,
    }


async def _put(service: Service, key: str, kind: str = "flag", value: Any = None) -> None:
    answer = await service.client.put(
        f"{LOCAL}/configurations/{key}",
        json={"kind": kind, "value": _flag() if value is None else value},
        headers={"If-None-Match": "*"},
    )
    assert answer.status == 201, await answer.text()


async def _next(stream: Any) -> str:
    async with asyncio.timeout(HANG_SECONDS):
        message = await stream.read()
        if message is aio.EOF:
            # Raises the status of the stream.
            raise AssertionError(f"the stream has ended: {await stream.code()}")
        document: str = message.flag_configuration
        return document


async def _status(call: Any) -> tuple[str, str]:
    """Return the code and the message with which a call ends."""
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await call
    except aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError("the call has succeeded")


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _insecure(settings: GrpcSettings) -> aio.Channel:
    return aio.insecure_channel(f"127.0.0.1:{settings.port}")


@asynccontextmanager
async def _client(service: Service, **settings: Any) -> AsyncIterator[Callable[..., Client]]:
    """Yield a function that makes clients of one channel with different metadata."""
    async with (
        serving(service, **settings) as (grpc_settings, _),
        _insecure(grpc_settings) as open_,
    ):
        yield lambda **metadata: Client(open_, **metadata)


async def test_stream_sends_flags_json_and_each_change(service: Service) -> None:
    await _put(service, "welcome")
    async with _client(service) as client:
        stream = client().stream()
        first = await _next(stream)
        flags_json = await (await service.client.get(f"{LOCAL}/flags.json")).text()
        await _put(service, "limit", "setting", 5)
        await _put(service, "farewell")
        second = await _next(stream)
        fetched = await client().fetch()

    assert first == flags_json
    assert json.loads(second)["flags"].keys() == {"farewell", "welcome"}
    assert fetched == second


async def test_selector_of_metadata_has_priority(service: Service) -> None:
    await _put(service, "welcome")
    async with _client(service) as client:
        document = await client(**{"flagd-selector": "flagSetId=local"}).fetch("flagSetId=nowhere")

    assert '"welcome"' in document


@pytest.mark.parametrize(
    ("selector", "code"),
    [
        ("", "INVALID_ARGUMENT"),
        ("source=local", "INVALID_ARGUMENT"),
        ("flagSetId=nowhere", "NOT_FOUND"),
    ],
)
async def test_selector_without_environment_has_a_status(
    service: Service, selector: str, code: str
) -> None:
    async with _client(service) as client:
        statuses = [
            await _status(_next(client().stream(selector))),
            await _status(client().fetch(selector)),
        ]

    assert [status for status, _ in statuses] == [code, code]
    assert all(details.endswith(".") for _, details in statuses)


async def test_tokens_of_metadata_have_their_rights(service: Service) -> None:
    local = await service.token(Scope.READ, environments=("local",))
    evaluator = await service.token(Scope.EVALUATE)
    async with _client(service, **BEARER) as client:
        await client(**_bearer(local)).fetch("")
        refused = [
            await _status(client().fetch()),
            await _status(client(**_bearer(local[:-1])).fetch()),
            await _status(client(**_bearer(local)).fetch("flagSetId=staging")),
            await _status(client(**_bearer(evaluator)).fetch()),
        ]

    codes = [code for code, _ in refused]
    assert codes == ["UNAUTHENTICATED"] * 2 + ["PERMISSION_DENIED"] * 2


async def test_too_many_invalid_tokens_are_limited(service: Service) -> None:
    async with _client(service, **BEARER) as client:
        codes = [(await _status(client(**_bearer("no")).fetch()))[0] for _ in range(12)]

    assert codes == ["UNAUTHENTICATED"] * 10 + ["RESOURCE_EXHAUSTED"] * 2


async def test_stream_ends_after_its_token_is_revoked(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    async with _client(service, **BEARER) as client:
        stream = client(**_bearer(token)).stream("")
        await _next(stream)
        await service.revoke(token)
        code, _ = await _status(_read_to_end(stream))

    assert code == "UNAUTHENTICATED"


async def _read_to_end(stream: Any) -> None:
    while await stream.read() is not aio.EOF:
        pass


async def _until(condition: Callable[[], bool]) -> None:
    async def is_met() -> bool:
        return condition()

    await until(is_met)


async def test_stream_ends_with_its_environment(service: Service) -> None:
    answer = await service.client.post(
        "/v1/environments", json={"name": "short-lived", "tier": "development"}
    )
    assert answer.status == 201, await answer.text()
    async with _client(service) as client:
        stream = client().stream("flagSetId=short-lived")
        await _next(stream)
        deleted = await service.client.delete(
            "/v1/environments/short-lived", headers={"If-Match": "*"}
        )
        assert deleted.status == 200, await deleted.text()
        code, _ = await _status(_read_to_end(stream))

    assert code == "NOT_FOUND"


async def test_shared_token_is_used_without_metadata(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    await _put(service, "welcome")
    async with _client(service, access=GrpcAccess.TOKEN, token=Secret(token)) as client:
        document = await client().fetch("")
        code, _ = await _status(client().fetch("flagSetId=staging"))

    assert '"welcome"' in document
    assert code == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("scopes", "environments"),
    [((Scope.READ,), ("*",)), ((Scope.READ, Scope.WRITE), ("local",))],
)
async def test_broad_shared_token_is_refused(
    service: Service, scopes: tuple[Scope, ...], environments: tuple[str, ...]
) -> None:
    token = await service.token(*scopes, environments=environments)
    settings = {"access": GrpcAccess.TOKEN, "token": Secret(token)}
    async with serving(service, **settings) as (grpc_settings, component):
        check = report(component)
        async with _insecure(grpc_settings) as channel:
            code, details = await _status(Client(channel).fetch())

    assert (check.status, check.output) == (Status.WARN, details)
    assert code == "PERMISSION_DENIED"


async def test_certificate_selects_its_token(service: Service, tmp_path: Path) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    ours = trustme.CA()
    server = ours.issue_cert("localhost")
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    with (tmp_path / "chain.pem").open("wb") as chain:
        for blob in server.cert_chain_pems:
            chain.write(blob.bytes())
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    known, unknown = ours.issue_cert("shop.example.org"), ours.issue_cert("bank.example.org")
    stranger = trustme.CA().issue_cert("shop.example.org")

    settings = {
        "access": GrpcAccess.CERTIFICATE,
        "clients": {"shop.example.org": Secret(token)},
        "tls_certificate": tmp_path / "chain.pem",
        "tls_key": tmp_path / "key.pem",
        "tls_client_ca": tmp_path / "ca.pem",
    }
    codes = []
    async with serving(service, **settings) as (grpc_settings, _):
        for certificate in (known, unknown, stranger, None):
            credentials = grpc.ssl_channel_credentials(
                ours.cert_pem.bytes(),
                certificate.private_key_pem.bytes() if certificate else None,
                certificate.cert_chain_pems[0].bytes() if certificate else None,
            )
            target = f"localhost:{grpc_settings.port}"
            async with aio.secure_channel(target, credentials) as channel:
                try:
                    await Client(channel).fetch("")
                    codes.append("OK")
                except aio.AioRpcError as error:
                    codes.append(error.code().name)

    assert codes == ["OK", "PERMISSION_DENIED", "UNAVAILABLE", "UNAVAILABLE"]


async def test_unix_socket_serves_its_group(service: Service) -> None:
    await _put(service, "welcome")
    # The folder of a test has too long a path.
    with TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "sync.sock"
        async with serving(service, port=None, socket=path):
            mode = path.stat().st_mode & 0o777
            async with aio.insecure_channel(f"unix:{path}") as channel:
                document = await Client(channel).fetch()

    assert mode == 0o660
    assert '"welcome"' in document


async def test_streams_above_the_limits_are_refused(service: Service) -> None:
    tokens = [await service.token(Scope.READ, environments=("local",)) for _ in range(3)]
    async with _client(service, **BEARER, streams_max=4) as client:
        open_ = [client(**_bearer(token)).stream("") for token in (*tokens[:2], *tokens[:2])]
        for stream in open_:
            await _next(stream)
        of_process, words = await _status(_next(client(**_bearer(tokens[2])).stream("")))
        open_[0].cancel()
        await asyncio.sleep(0)
        async with asyncio.timeout(HANG_SECONDS):
            while True:  # until the server has seen that the stream is gone
                stream = client(**_bearer(tokens[2])).stream("")
                if await stream.read() is not aio.EOF:
                    break
        of_token, _ = await _status(_next(client(**_bearer(tokens[1])).stream("")))

    assert (of_process, of_token) == ("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED")
    assert "4 streams" in words


async def test_stop_ends_streams_as_unavailable(service: Service) -> None:
    async with serving(service) as (settings, component):
        async with asyncio.timeout(HANG_SECONDS):
            channel = _insecure(settings)
            stream = Client(channel).stream()
            await _next(stream)
        assert report(component).observed_value == 1
    code, details = await _status(_read_to_end(stream))
    await channel.close()

    assert code == "UNAVAILABLE"
    assert details == "This instance stops. Connect again."


async def test_client_that_stops_reading_is_disconnected(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.flags.flagd_sync.server.SEND_SECONDS", 0.2)
    # More than the buffers of both sides.
    await _put(service, "large", value=_flag() | {"metadata": {"text": "x" * 200_000}})
    async with serving(service) as (settings, component):
        _, writer = await frames.connect(settings.port)
        writer.write(frames.open_stream(1, "/flagd.sync.v1.FlagSyncService/SyncFlags"))
        await _until(lambda: "slow" in _ended(component))
        await _until(lambda: report(component).observed_value == 0)
        monkeypatch.undo()
        writer.close()
        async with _insecure(settings) as channel:
            assert '"large"' in await Client(channel).fetch()


def _ended(component: Any) -> set[str]:
    families = {family.name: family for family in component.metrics()}
    samples = families["flagstone_flagd_sync_ended"].samples
    return {sample.labels["reason"] for sample in samples if sample.value}


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 4_096,
        frames.PREFACE + b"\xff" * 4_096,
        frames.PREFACE + frames.settings() + frames.frame(frames.HEADERS, 4, 1, b"\xff" * 200),
        frames.PREFACE + frames.settings() + frames.frame(0x2A, 0, 0, b"x" * 20_000),
    ],
)
async def test_garbage_ends_its_connection_alone(service: Service, garbage: bytes) -> None:
    async with serving(service) as (settings, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.port)
        async with asyncio.timeout(HANG_SECONDS):
            with suppress(OSError):  # the server has closed it
                writer.write(garbage)
                writer.write_eof()
                while await reader.read(65_536):
                    pass
        writer.close()
        async with _insecure(settings) as channel:
            assert await Client(channel).fetch()


@pytest.mark.parametrize(
    "flood",
    [
        lambda _: frames.frame(frames.PING, 0, 0, b"12345678"),
        lambda _: frames.settings(),
        lambda number: (
            frames.open_stream(2 * number + 1, "/flagd.sync.v1.FlagSyncService/SyncFlags")
            + frames.frame(frames.RST_STREAM, 0, 2 * number + 1, b"\0\0\0\x08")
        ),
    ],
    ids=["pings", "settings", "resets"],
)
async def test_flood_leaves_other_clients_served(
    service: Service, flood: Callable[[int], bytes]
) -> None:
    async with serving(service) as (settings, component), _insecure(settings) as channel:
        stream = Client(channel).stream()
        await _next(stream)
        _, writer = await frames.connect(settings.port)
        with suppress(ConnectionError):  # the server closes it
            for number in range(5_000):
                writer.write(flood(number))
                if number % 100 == 0:
                    await writer.drain()
        await _put(service, "after")
        document = await _next(stream)
        writer.close()
        await _until(lambda: report(component).observed_value == 1)

    assert '"after"' in document


async def test_missing_grpcio_is_named_at_the_start(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.flags.flagd_sync.component.find_spec", lambda _: None)

    with pytest.raises(GrpcMissingError, match="run `pip install grpcio`"):
        async with serving(service):
            pass


async def test_refused_call_is_in_the_access_log(service: Service) -> None:
    token = await service.token(Scope.READ, environments=("local",))
    async with _client(service, **BEARER) as client:
        await _status(client(**_bearer(token)).fetch("flagSetId=staging"))
    await service.component(AccessLog).run_once()
    answer = await service.client.get("/v1/access-log", params={"event": "authz_fail"})
    (access,) = (await answer.json())["items"]

    assert access["token_id"] == token.split("_")[2]
    assert access["route"] == "/flagd.sync.v1.FlagSyncService/FetchAllFlags"
    assert (access["detail"], access["decision"]) == ("environment_foreign", "refused")


async def test_deliveries_of_changes_are_measured(service: Service) -> None:
    async with serving(service) as (settings, component), _insecure(settings) as channel:
        streams = [Client(channel).stream() for _ in range(3)]
        for stream in streams:
            await _next(stream)
        before = _samples(component, "flagstone_flagd_sync_fan_out_seconds")
        await _put(service, "welcome")
        for stream in streams:
            await _next(stream)
        await _until(lambda: _samples(component, "flagstone_flagd_sync_fan_out_seconds") > [0.0])
        counts = _samples(component, "flagstone_flagd_sync_streams")

    assert (before, counts) == ([0.0], [3.0])


def _samples(component: FlagdSync, name: str) -> list[float]:
    families = {family.name: family for family in component.metrics()}
    return [sample.value for sample in families[name].samples]


async def test_large_message_is_logged_once(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.flags.flagd_sync.feed.MESSAGE_BYTES_MAX", 10)
    async with _client(service) as client:
        stream = client().stream()
        await _next(stream)
        for key in ("first", "second"):
            await _put(service, key)
            await _next(stream)

    assert capsys.readouterr().out.count("flagd_sync_message_large") == 1
