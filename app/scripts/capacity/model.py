"""The capacity model: the processes of each tier for a load.

A tier needs the largest of three numbers of processes: the minimum, its streams divided by the
fan-out, and its processor time divided by BUSY_MAX of a core.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import ForeseenError
from app.scripts.capacity.measured import Measured

# Above this share of its core, the p99 of a process grows faster than its load.
BUSY_MAX = 0.6
_SECOND_US = 1e6
_KIB_PER_MIB = 1024


class CapacityError(ForeseenError):
    """One process, or one environment, cannot do this much."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """`refetch` is the share of the streams whose clients evaluate all flags after an event.

    `bulk` is the share of the requests that evaluate all flags. `fan_out` is the maximum of streams
    of a process, 0 for no maximum and no relays. `pool_max` is DATABASE_POOL_MAX.
    """

    requests: float
    streams: int
    flags: int
    changes: float
    bulk: float = 0.0
    refetch: float = 1.0
    replicas: int = 2
    fan_out: int = 5_000
    pool_max: int = 10


@dataclass(frozen=True, kw_only=True)
class ProcessTier:
    """Processes with the same work. `streams` are those of all of them, `stream_us` is per event.

    `bound` names the limit that decides the number of processes.
    """

    name: str
    processes: int
    bound: str
    streams: int
    stream_us: float
    request_cores: float
    cores: float
    memory_mib: float

    @property
    def streams_each(self) -> int:
        return math.ceil(self.streams / self.processes)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`tiers` begins with the service, and ends with the processes that clients connect to.

    `write_cores` is the processor time of writes, mostly of PostgreSQL.
    """

    load: Load
    tiers: Sequence[ProcessTier]
    write_cores: float
    connections: int

    @property
    def processes(self) -> int:
        return sum(tier.processes for tier in self.tiers)

    @property
    def cores(self) -> float:
        return self.write_cores + sum(tier.cores for tier in self.tiers)

    @property
    def memory_mib(self) -> float:
        return sum(tier.memory_mib for tier in self.tiers)


def plan(load: Load, measured: Measured) -> Plan:
    """Return the tiers for a load. Raises CapacityError."""
    _check(load, measured)
    has_relays = load.fan_out > 0 and load.streams > load.replicas * load.fan_out
    bulk_us = measured.bulk_us(load.flags)
    request_us = (1 - load.bulk) * measured.evaluation_us + load.bulk * bulk_us
    clients = _tier(
        load,
        measured,
        name="relays" if has_relays else "service",
        at_least=1 if has_relays else load.replicas,
        streams=load.streams,
        stream_us=measured.event_us + load.refetch * bulk_us,
        request_cores=load.requests * request_us / _SECOND_US,
    )
    tiers = [clients]
    while tiers[0].name != "service":
        below = tiers[0].processes
        is_core = below <= load.replicas * load.fan_out
        tiers.insert(
            0,
            _tier(
                load,
                measured,
                name="service" if is_core else "relays of relays",
                at_least=load.replicas if is_core else 1,
                streams=below,
                stream_us=measured.relay_us,
                request_cores=0,
            ),
        )
    return Plan(
        load=load,
        tiers=tiers,
        write_cores=load.changes * measured.write_us / _SECOND_US,
        # The pool, and one connection that follows the changes.
        connections=tiers[0].processes * (load.pool_max + 1),
    )


def _check(load: Load, measured: Measured) -> None:
    followed = BUSY_MAX * _SECOND_US / measured.change_us
    possible = min(followed, measured.writes_per_second)
    if load.changes >= possible:
        raise CapacityError(
            f"--changes: must be below {possible:,.0f}. Every process applies every change, and "
            "the writes of an environment run one after the other"
        )


def _tier(
    load: Load,
    measured: Measured,
    *,
    name: str,
    at_least: int,
    streams: int,
    stream_us: float,
    request_cores: float,
) -> ProcessTier:
    change_cores = load.changes * measured.change_us / _SECOND_US
    work = request_cores + streams * load.changes * stream_us / _SECOND_US
    bounds = {
        "the minimum": at_least,
        "streams per process": math.ceil(streams / load.fan_out) if load.fan_out else 1,
        "processor": math.ceil(work / (BUSY_MAX - change_cores)),
    }
    bound, processes = max(bounds.items(), key=lambda item: item[1])
    stream_mib = streams * measured.stream_kib / _KIB_PER_MIB
    return ProcessTier(
        name=name,
        processes=processes,
        bound=bound,
        streams=streams,
        stream_us=stream_us,
        request_cores=request_cores,
        cores=work + processes * change_cores,
        memory_mib=processes * measured.process_mib(load.flags) + stream_mib,
    )
