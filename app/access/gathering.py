"""Gathering: equal accesses become one with a count, and never more than so many.

A flood of forged tokens is told in as many rows as it has senders and routes. Beyond the limit
only the kinds are told apart, so that a flood from everywhere ends in a few rows as well; nothing
is left uncounted.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from app.access.events import Access

SEVERAL = "several"
_PREFIX_V6 = 64

_Key = tuple[str | None, ...]


class Gathered:
    """The accesses since the last `take`, by what makes them equal.

    `blurred` counts, for ever, those that were one too many to be told apart.
    """

    def __init__(self, groups_max: int) -> None:
        self._groups_max = groups_max
        self._groups: dict[_Key, Access] = {}
        self.blurred = 0

    def add(self, access: Access) -> None:
        key = _key(access)
        found = self._groups.get(key)
        if found is None and len(self._groups) >= self._groups_max and access.actor != SEVERAL:
            self.blurred += access.count
            access = _blurred(access)
            key = _key(access)
            found = self._groups.get(key)
        if found is not None:
            count = found.count + access.count
            access = msgspec.structs.replace(found, count=count, last_at=access.last_at)
        self._groups[key] = access

    def take(self) -> list[Access]:
        """Return what was gathered, and begin anew."""
        groups, self._groups = self._groups, {}
        return list(groups.values())

    def add_all(self, accesses: Iterable[Access]) -> None:
        for access in accesses:
            self.add(access)


def _key(access: Access) -> _Key:
    """Return what equal ones share. Not what a stranger can choose freely, such as a token's id."""
    return (
        *(access.event, access.decision, access.detail, access.actor),
        *(_prefix(access.client or ""), access.method, access.route, access.environment),
    )


def _blurred(access: Access) -> Access:
    return Access(
        at=access.at,
        last_at=access.last_at,
        count=access.count,
        event=access.event,
        decision=access.decision,
        actor=SEVERAL,
        detail="more than are told apart",
    )


@lru_cache(maxsize=4_096)
def _prefix(client: str) -> str:
    """Return what one client has for itself: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:
        return client
    return str(ipaddress.ip_network((int(address), _PREFIX_V6), strict=False))
