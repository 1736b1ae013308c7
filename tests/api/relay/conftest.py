from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.access.models import Scope
from tests.api.relay.relays import Gate, Relay, gated, relaying
from tests.conftest import Service


@pytest.fixture
async def relay_token(service: Service) -> str:
    return await service.token(Scope.RELAY)


@pytest.fixture
async def gate(service: Service) -> AsyncIterator[Gate]:
    """Yield a gate before the service."""
    async with gated(service.url) as gate:
        yield gate


class Chain(NamedTuple):
    first: Relay
    second: Relay


@pytest.fixture
async def chain(service: Service, relay_token: str, tmp_path: Path) -> AsyncIterator[Chain]:
    """Yield a relay of the service, and a relay of that relay."""
    async with (
        relaying(service.url, relay_token, tmp_path / "1") as first,
        relaying(first.url, relay_token, tmp_path / "2") as second,
    ):
        yield Chain(first, second)


@pytest.fixture
async def relay(gate: Gate, relay_token: str, tmp_path: Path) -> AsyncIterator[Relay]:
    """Yield a relay behind the gate."""
    async with relaying(gate.url, relay_token, tmp_path / "relay") as relay:
        yield relay
