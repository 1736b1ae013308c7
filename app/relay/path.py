"""The path of relays: finds a relay that follows itself, directly or through others.

Each request to an upstream names the relay and those below it. A relay that finds itself among them
refuses the request. That works before any token is known: in a circle, none ever would be.
"""

import re
import time
import uuid

from app.errors import Conflict

_ID = re.compile(r"[0-9a-f]{32}")
# The IDs in a header, and the seconds until a relay below is forgotten.
_IDS_MAX = 64
REMEMBERED_SECONDS = 30.0
CIRCLE = "relay_circle"
# A longer chain is a mistake.
DEPTH_MAX = 8
# Workers are forks, so they share it.
RELAY_ID = uuid.uuid4().hex


class RelayPath:
    """The ID of this relay, and those of the relays below it that have called lately."""

    def __init__(self, relay_id: str = RELAY_ID) -> None:
        self.relay_id = relay_id
        self._below: dict[str, float] = {}

    @property
    def header(self) -> str:
        now = time.monotonic()
        self._below = {id_: at for id_, at in self._below.items() if now - at < REMEMBERED_SECONDS}
        return ",".join((self.relay_id, *self._below))

    def check(self, header: str) -> None:
        """Remember the relays of a request. Raises Conflict if this relay is among them."""
        ids = [id_ for id_ in header.split(",", _IDS_MAX)[:_IDS_MAX] if _ID.fullmatch(id_)]
        if self.relay_id in ids:
            raise Conflict(
                CIRCLE,
                "This relay would follow itself. Set RELAY_UPSTREAM to an instance that does not "
                "follow this relay.",
            )
        now = time.monotonic()
        for id_ in ids:
            if id_ in self._below or len(self._below) < _IDS_MAX:
                self._below[id_] = now
