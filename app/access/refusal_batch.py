"""A batch of refusals: equal accesses become one with a count, and the number of groups is bounded.

A flood of forged tokens takes one row per sender and route. Each sender has at most a fifth of the
groups, so one that tries every route cannot hide the others. Beyond a limit only the kind of event
is recorded. Every access is counted.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from datetime import datetime

import msgspec

from app.access.events import Access
from app.http.client_address import client_prefix

SEVERAL = "several"
_TOO_MANY = "more than are distinguished"
_SENDERS_MIN = 5

_Key = tuple[str | bytes | None, ...]


class _Group:
    """Equal accesses: the first one, how many, and the time of the last one."""

    __slots__ = ("_first", "count", "last_at")

    def __init__(self, first: Access) -> None:
        self._first = first
        self.count = first.count
        self.last_at = first.last_at

    def as_access(self) -> Access:
        return msgspec.structs.replace(self._first, count=self.count, last_at=self.last_at)


class RefusalBatch:
    """The accesses since the last `take`, in at most `groups_max` groups of equal ones.

    `blurred` counts the accesses that lost their details, since the start of the process.
    """

    def __init__(self, groups_max: int) -> None:
        self._groups_max = groups_max
        self._groups_per_sender_max = groups_max // _SENDERS_MIN
        self._groups: dict[_Key, _Group] = {}
        # The groups of accesses with all details, by `alike` of `add`.
        self._alike: dict[Hashable, _Group] = {}
        self._groups_by_sender: Counter[_Key] = Counter()
        self.blurred = 0

    def add(self, access: Access, alike: Hashable = None) -> None:
        """Add an access. Accesses with the same `alike` belong to the same group."""
        stored = self._within_limits(access)
        if stored is not access and access.detail != _TOO_MANY:
            self.blurred += access.count
        key = _key(stored)
        group = self._groups.get(key)
        if group is None:
            self._groups_by_sender[_sender(stored)] += 1
            group = self._groups[key] = _Group(stored)
        else:
            group.count += stored.count
            group.last_at = stored.last_at
        if alike is not None and stored is access and len(self._alike) < self._groups_max:
            self._alike[alike] = group

    def add_again(self, alike: Hashable, at: datetime) -> bool:
        """Count an access like an earlier one of this batch. Return False if there is none."""
        group = self._alike.get(alike)
        if group is None:
            return False
        group.count += 1
        group.last_at = at
        return True

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
        groups, self._groups, self._alike = self._groups, {}, {}
        self._groups_by_sender.clear()
        return [group.as_access() for group in groups.values()]

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
