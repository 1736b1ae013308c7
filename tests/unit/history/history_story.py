"""A history that keeps every promise, and functions that break one promise each."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tests.process.history.checker import violations
from tests.process.history.records import (
    AppliedChange,
    Attempt,
    Change,
    ChangeSet,
    Entry,
    Final,
    Heard,
    Outcome,
    Read,
    Record,
    RequestedChange,
    Served,
    Write,
)

EPOCH = "one"
A1, A2, A4 = Entry(1, "w0.1"), Entry(2, "w1.1"), Entry(3, "w1.2")
B1 = Entry(1, "w1.1")
# The properties of the environment.
OWN = Entry(2, {"owner": "w1.2"})
ENTRIES = {"a": A4, "shop/b": B1}
PAGE = msgspec.json.encode(
    {
        "items": [
            {"key": "a", "version": 3, "value": "w1.2"},
            {"key": "shop/b", "version": 1, "value": "w1.1"},
        ]
    }
).decode()
PAST = (
    ChangeSet(1, "w0.1", (Change("a", None, A1),)),
    ChangeSet(2, "w1.1", (Change("a", A1, A2), Change("shop/b", None, B1))),
    ChangeSet(3, "", (Change("a", A2, None),)),
    ChangeSet(4, "w1.2", (Change("a", None, A4),), Change("", Entry(1, {}), OWN)),
)


def write(
    name: str,
    at: float,
    method: str,
    requested: dict[str, tuple[int, Entry | None]],
    *,
    outcome: Outcome = Outcome.OK,
    revision: int = 0,
    status: int = 200,
) -> Write:
    asked = tuple(
        RequestedChange(environment="local", key=key, version=version, value=entry and entry.value)
        for key, (version, entry) in requested.items()
    )
    applied = tuple(
        AppliedChange(
            environment="local",
            revision=revision,
            key=key,
            version=entry.version if entry else None,
        )
        for key, (_, entry) in requested.items()
        if outcome is Outcome.OK
    )
    return Write(
        client=name.partition(".")[0],
        name=name,
        method=method,
        path="",
        environments=("local",),
        requested=asked,
        attempts=(Attempt("r0", at, at + 0.5, status),),
        outcome=outcome,
        applied=applied,
    )


def read(at: float, revision: int, entries: dict[str, Entry], least: int | None = None) -> Read:
    return Read(
        client="reader",
        replica="r0",
        life=1,
        environment="local",
        min_revision=least,
        started=at,
        ended=at + 0.5,
        status=200,
        epoch=EPOCH,
        revision=revision,
        entries=entries,
    )


def heard(name: str, revision: int, *keys: str, prefix: str = "") -> Heard:
    return Heard(
        client=f"stream {prefix}",
        connection=1,
        replica="r0",
        environment="local",
        prefix=prefix,
        at=float(revision),
        name=name,
        epoch=EPOCH,
        revision=revision,
        keys=keys,
    )


def of_epoch(epoch: str, message: Heard) -> Heard:
    return msgspec.structs.replace(message, epoch=epoch)


WRITES = [
    write("w0.1", 1, "PUT", {"a": (0, A1)}, revision=1),
    write("w1.1", 2, "POST", {"a": (1, A2), "shop/b": (0, B1)}, revision=2),
    write("w0.2", 3, "DELETE", {"a": (2, None)}, revision=3),
    write("w0.3", 3, "PUT", {"a": (1, A2)}, outcome=Outcome.REFUSED, status=412),
    write("w1.2", 4, "PUT", {"a": (0, A4)}, outcome=Outcome.UNKNOWN, status=0),
]
READS = [
    read(1.6, 1, {"a": A1}, least=1),
    read(3.6, 3, {"shop/b": B1}),
    read(5.0, 4, ENTRIES, least=3),
]
HEARD = [
    heard("place", 0),
    heard("change", 1, "a"),
    heard("change", 2, "a", "shop/b"),
    heard("change", 3, "a"),
    heard("change", 4, "a"),
]
NARROWED = [
    heard("place", 1, prefix="shop/"),
    heard("change", 2, "shop/b", prefix="shop/"),
    heard("place", 4, prefix="shop/"),
]
FINAL = Final(
    environment="local",
    epoch=EPOCH,
    revision=4,
    change_sets=PAST,
    entries=ENTRIES,
    properties=OWN,
    reported=PAST,
    served={"r0": Served(EPOCH, 4, PAGE, OWN), "r1": Served(EPOCH, 4, PAGE, OWN)},
    streams={"stream ": 4, "stream shop/": 4},
)


@dataclass(frozen=True)
class Story:
    writes: list[Write]
    reads: list[Read]
    heard: list[Heard]
    final: Final

    @property
    def records(self) -> list[Record]:
        return [*self.writes, *self.reads, *self.heard]

    def names(self) -> set[str]:
        return {violation.name for violation in violations(self.records, [self.final])}


GOOD = Story(WRITES, READS, [*HEARD, *NARROWED], FINAL)
NEXT = 6.0  # A time after the last event.


def and_write(name: str, **what: Any) -> Story:
    """Return the story with one write more, a PUT of the value 5 on version 3."""
    more = write(name, NEXT, "PUT", {"a": (3, Entry(4, 5))}, **what)
    return replace(GOOD, writes=[*WRITES, more])


def and_read(revision: int, entries: dict[str, Entry], **what: Any) -> Story:
    more = msgspec.structs.replace(read(NEXT, revision, entries), **what)
    return replace(GOOD, reads=[*READS, more])


def heard_instead(*messages: Heard) -> Story:
    return replace(GOOD, heard=list(messages))


def write_instead(position: int, **changes: Any) -> Story:
    writes = list(WRITES)
    writes[position] = msgspec.structs.replace(writes[position], **changes)
    return replace(GOOD, writes=writes)


def ending(**changes: Any) -> Story:
    return replace(GOOD, final=msgspec.structs.replace(FINAL, **changes))


def with_past(*change_sets: ChangeSet) -> Story:
    """Return the story with another history, as HTTP returns it."""
    return ending(change_sets=change_sets, reported=change_sets)


def r1_serving(**changes: Any) -> Story:
    served = msgspec.structs.replace(FINAL.served["r1"], **changes)
    return ending(served={**FINAL.served, "r1": served})
