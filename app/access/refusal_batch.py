"""A batch of refusals: equal accesses become one with a count, and the number of groups is bounded.

A flood of forged tokens takes one row per sender and route. Each sender has at most a fifth of the
groups, so one that tries every route cannot hide the others. Beyond a limit only the kind of event
is recorded. Every access is counted.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from app.access.events import Access
from app.http.client_address import client_prefix

SEVERAL = "several"
_TOO_MANY = "more than are distinguished"
_SENDERS_MIN = 5

_Key = tuple[str | bytes | None, ...]


class RefusalBatch:
    """The accesses since the last `take`, in at most `groups_max` groups of equal ones.

    `blurred` counts the accesses that lost their details, since the start of the process.
    """

    def __init__(self, groups_max: int) -> None:
        self._groups_max = groups_max
        self._groups_per_sender_max = groups_max // _SENDERS_MIN
        self._groups: dict[_Key, Access] = {}
        self._groups_by_sender: Counter[_Key] = Counter()
        self.blurred = 0

    def add(self, access: Access) -> None:
        stored = self._within_limits(access)
        if stored is not access and access.detail != _TOO_MANY:
            self.blurred += access.count
        key = _key(stored)
        group = self._groups.get(key)
        if group is None:
            self._groups_by_sender[_sender(stored)] += 1
        else:
            count = group.count + stored.count
            stored = msgspec.structs.replace(group, count=count, last_at=stored.last_at)
        self._groups[key] = stored

    def _within_limits(self, access: Access) -> Access:
        """Return the access, without details when its sender or the batch has too many groups."""
        if access.actor == SEVERAL or _key(access) in self._groups:
            return access
        if len(self._groups) >= self._groups_max:
            return _blurred(access, actor=SEVERAL, client=None)
        is_at_limit = self._groups_by_sender[_sender(access)] >= self._groups_per_sender_max
        if is_at_limit and access.detail != _TOO_MANY:
            return _blurred(access, actor=access.actor, client=access.client)
        return access

    def take(self) -> list[Access]:
        """Return the groups and clear the batch."""
        groups, self._groups = self._groups, {}
        self._groups_by_sender.clear()
        return list(groups.values())

    def add_all(self, accesses: Iterable[Access]) -> None:
        for access in accesses:
            self.add(access)


def _key(access: Access) -> _Key:
    """Return what equal accesses share. Senders choose token IDs freely, so these are no part."""
    return (
        *(access.event, access.decision, access.detail, access.actor),
        *(_prefix(access), access.method, access.route, access.environment),
    )


def _sender(access: Access) -> _Key:
    return (access.actor, _prefix(access))


def _prefix(access: Access) -> bytes | str:
    client = access.client or ""
    # A client without an IP address is its own prefix.
    return client_prefix(client) or client


def _blurred(access: Access, *, actor: str, client: str | None) -> Access:
    return Access(
        at=access.at,
        last_at=access.last_at,
        count=access.count,
        event=access.event,
        decision=access.decision,
        actor=actor,
        client=client,
        detail=_TOO_MANY,
    )
