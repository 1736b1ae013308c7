"""Change sets as server-sent events. Each is encoded once for all streams."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec

from app.access.permissions import Keys
from app.environments.protection import Approval


class ChangeEventData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data of a `change` event: the changed keys, without values.

    `properties` is true when properties of the environment changed. `approval` is set for an
    approved proposal and for an emergency.
    """

    environment: str
    revision: int
    kind: str
    actor: str
    message: str
    created_at: datetime
    keys: Sequence[str]
    properties: bool
    approval: Approval | None = None


class ChangeEvent:
    """One change set as a server-sent event.

    `is_foreign`: the reader may know nothing of it but its revision and time.
    """

    def __init__(self, epoch: str, data: ChangeEventData, *, is_foreign: bool = False) -> None:
        self.revision = data.revision
        self.is_foreign = is_foreign
        self._epoch = epoch
        self.data = data

    @cached_property
    def message(self) -> bytes:
        return _encoded("change", self._epoch, self.revision, self.data)

    def message_for(self, prefix: str) -> bytes | None:
        """Return the event for keys with the prefix, or None when no such key changed."""
        if self.is_foreign:
            return None
        if not prefix:
            return self.message
        keys = [key for key in self.data.keys if key.startswith(prefix)]
        if not keys:
            return None
        data = msgspec.structs.replace(self.data, keys=keys)
        return _encoded("change", self._epoch, self.revision, data)

    def limited_to(self, keys: Keys) -> "ChangeEvent":
        """Return what a caller with rights for these keys may know of the change set.

        A change of the properties concerns all readers of the environment.
        """
        if keys.is_all or self.is_foreign:
            return self
        own = [key for key in self.data.keys if key in keys]
        if own or self.data.properties:
            return ChangeEvent(self._epoch, msgspec.structs.replace(self.data, keys=own))
        hidden = msgspec.structs.replace(
            self.data, kind="", actor="", message="", keys=(), approval=None
        )
        return ChangeEvent(self._epoch, hidden, is_foreign=True)


def resync_message(environment: str, epoch: str, revision: int) -> bytes:
    """Return the event that makes the client read everything at this revision again."""
    return _encoded("resync", epoch, revision, {"environment": environment, "revision": revision})


def id_message(epoch: str, revision: int) -> bytes:
    """Return an ID without data: no event for the client, but the position it resumes from."""
    return f"id: {epoch}:{revision}\n\n".encode()


def _encoded(name: str, epoch: str, revision: int, data: Any) -> bytes:
    """Return a message as in the HTML standard, section 9.2. The JSON has no line breaks."""
    head = f"id: {epoch}:{revision}\nevent: {name}\ndata: ".encode()
    return head + msgspec.json.encode(data) + b"\n\n"
