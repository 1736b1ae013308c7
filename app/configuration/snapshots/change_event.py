"""What a change set tells those who listen: encoded once, however many they are."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `change` event: what to read anew, never the values.

    `properties` tells whether the environment says something else of itself.
    """

    environment: str
    revision: int
    kind: str
    actor: str
    message: str
    created_at: datetime
    keys: Sequence[str]
    properties: bool


class Resync(msgspec.Struct, frozen=True):
    """The data of a `resync` event: forget what you know and read the revision whole."""

    environment: str
    revision: int


class ChangeEvent:
    """One change set as a server-sent event."""

    def __init__(self, epoch: str, data: EventData) -> None:
        self.revision = data.revision
        self._epoch = epoch
        self.data = data

    @cached_property
    def message(self) -> bytes:
        return _encoded("change", self._epoch, self.revision, self.data)

    def message_for(self, prefix: str) -> bytes | None:
        """Return the event for keys with the prefix; None when it touched none of them."""
        if not prefix:
            return self.message
        keys = [key for key in self.data.keys if key.startswith(prefix)]
        if not keys:
            return None
        data = msgspec.structs.replace(self.data, keys=keys)
        return _encoded("change", self._epoch, self.revision, data)


def resync_message(environment: str, epoch: str, revision: int) -> bytes:
    return _encoded("resync", epoch, revision, Resync(environment, revision))


def id_message(epoch: str, revision: int) -> bytes:
    """Return an id without data: no event to a client, and yet the place that it resumes from."""
    return f"id: {epoch}:{revision}\n\n".encode()


def _encoded(name: str, epoch: str, revision: int, data: Any) -> bytes:
    """Return a message by the HTML standard, section 9.2; JSON has no line breaks of its own."""
    head = f"id: {epoch}:{revision}\nevent: {name}\ndata: ".encode()
    return head + msgspec.json.encode(data) + b"\n\n"
