"""A relay finds itself among the relays of a request, and never sends a long header."""

import uuid

import pytest

from app.errors import Conflict
from app.relay import path as paths
from app.relay.path import RelayPath


def test_relay_that_follows_itself_is_refused() -> None:
    relay = RelayPath(uuid.uuid4().hex)

    with pytest.raises(Conflict, match="would follow itself"):
        relay.check(relay.header)


def test_circle_of_three_relays_is_refused() -> None:
    first, second, third = (RelayPath(uuid.uuid4().hex) for _ in range(3))
    second.check(first.header)
    third.check(second.header)

    with pytest.raises(Conflict):
        first.check(third.header)


def test_header_of_strangers_stays_short() -> None:
    relay = RelayPath(uuid.uuid4().hex)
    for _ in range(10):
        relay.check(",".join(uuid.uuid4().hex for _ in range(200)))
    relay.check("x" * 10_000 + ",\n,é")

    assert len(relay.header) < 3_000


def test_relay_that_has_left_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = RelayPath(uuid.uuid4().hex)
    relay.check(uuid.uuid4().hex)
    monkeypatch.setattr(paths, "REMEMBERED_SECONDS", -1.0)

    assert relay.header == relay.relay_id
