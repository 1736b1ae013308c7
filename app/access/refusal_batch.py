"""Gathering: equal accesses become one with a count, and never more than so many.

A flood of forged tokens is told in as many rows as it has senders and routes. Beyond the limit
only the kinds are told apart, so that a flood from everywhere ends in a few rows as well; nothing
is left uncounted. Each sender has a limit of his own before: else one who tries every route, or
names of environments that there are not, would hide what the others do.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from app.access.events import Access
from app.http.client_address import client_prefix

SEVERAL = "several"
_TOO_MANY = "more than are told apart"
# None takes more than his share of the groups, where there would be one for each of so many.
_SENDERS_MIN = 5

_Key = tuple[str | bytes | None, ...]


class RefusalBatch:
    """The accesses since the last `take`, by what makes them equal.

    `blurred` counts, for ever, those that were one too many to be told apart.
    """

    def __init__(self, groups_max: int) -> None:
        self._groups_max = groups_max
        self._of_one_max = groups_max // _SENDERS_MIN
        self._groups: dict[_Key, Access] = {}
        # How many groups each sender has.
        self._senders: Counter[_Key] = Counter()
        self.blurred = 0

    def add(self, access: Access) -> None:
        told = self._room_for(access)
        if told is not access and access.detail != _TOO_MANY:
            self.blurred += access.count
        key = _key(told)
        found = self._groups.get(key)
        if found is None:
            self._senders[_sender(told)] += 1
        else:
            count = found.count + told.count
            told = msgspec.structs.replace(found, count=count, last_at=told.last_at)
        self._groups[key] = told

    def _room_for(self, access: Access) -> Access:
        """Return the access, or as much of it as there is room to tell."""
        if access.actor == SEVERAL or _key(access) in self._groups:
            return access
        if len(self._groups) >= self._groups_max:
            return _blurred(access, actor=SEVERAL, client=None)
        has_his_share = self._senders[_sender(access)] >= self._of_one_max
        if has_his_share and access.detail != _TOO_MANY:
            return _blurred(access, actor=access.actor, client=access.client)
        return access

    def take(self) -> list[Access]:
        """Return what was gathered, and begin anew."""
        groups, self._groups = self._groups, {}
        self._senders.clear()
        return list(groups.values())

    def add_all(self, accesses: Iterable[Access]) -> None:
        for access in accesses:
            self.add(access)


def _key(access: Access) -> _Key:
    """Return what equal ones share. Not what a stranger can choose freely, such as a token's id."""
    return (
        *(access.event, access.decision, access.detail, access.actor),
        *(_prefix(access), access.method, access.route, access.environment),
    )


def _sender(access: Access) -> _Key:
    return (access.actor, _prefix(access))


def _prefix(access: Access) -> bytes | str:
    client = access.client or ""
    # What is no address stands for itself.
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
