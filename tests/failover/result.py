"""Compute the figures of a fault from the clients' records: pure functions."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.failover.faults import Observation
from tests.failover.load import Evaluation
from tests.process.history.past import Past
from tests.process.history.records import (
    AppliedChange,
    Final,
    Outcome,
    Read,
    Record,
    Write,
)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one fault."""

    kind: str
    # The longest time without an acknowledged write, and from the promotion to the next one.
    gap_seconds: float
    after_leader_seconds: float
    reads: int
    failed_reads: int
    acknowledged: int
    lost: int
    # Acknowledged, committed by the former leader after the promotion, and not on the new one.
    acknowledged_on_former: int
    # Committed by the former leader after the promotion, and never acknowledged.
    refused_on_former: int


def figures(
    observation: Observation,
    records: Sequence[Record],
    evaluations: Sequence[Evaluation],
    finals: Iterable[Final],
) -> Figures:
    """Return the figures of one fault; `finals` is the state at the end of the run."""
    pasts = {final.environment: Past(final) for final in finals}
    begin, end = observation.started, observation.healed_at
    writes = [
        record
        for record in records
        if isinstance(record, Write) and record.outcome is Outcome.OK and begin <= record.ended
    ]
    ended = sorted(write.ended for write in writes)
    lost = {write.name for write in writes if write.ended <= end and lost_from(write, pasts)}
    statuses = [*_read_statuses(records, begin, end), *_statuses(evaluations, begin, end)]
    on_former = {commit.message for commit in observation.commits_on_former} - {""}
    acknowledged = {write.name for write in writes}
    return Figures(
        kind=observation.kind,
        gap_seconds=_longest([begin, *(at for at in ended if at <= end), end]),
        after_leader_seconds=next((at for at in ended if at >= observation.leader_at), end)
        - observation.leader_at,
        reads=len(statuses),
        failed_reads=sum(status != 200 for status in statuses),
        acknowledged=sum(write.ended <= end for write in writes),
        lost=len(lost),
        acknowledged_on_former=len(on_former & lost),
        refused_on_former=len(on_former - acknowledged),
    )


def lost_from(write: Write, pasts: Mapping[str, Past]) -> set[str]:
    """Return the environments whose history lacks a change of an acknowledged write."""
    return {
        applied.environment
        for applied in write.applied
        if not _is_stored(write, applied, pasts[applied.environment])
    }


def _is_stored(write: Write, applied: AppliedChange, past: Past) -> bool:
    change = past.change(applied.revision, applied.key)
    if change is None or (write.method != "DELETE" and not past.named(write.name)):
        return False
    return applied.version == (change.after.version if change.after is not None else None)


def _longest(times: Sequence[float]) -> float:
    return max(after - before for before, after in pairwise(times))


def _read_statuses(records: Iterable[Record], begin: float, end: float) -> list[int]:
    """Return the statuses of reads. A read that requires a revision may be refused."""
    return [
        record.status
        for record in records
        if isinstance(record, Read) and record.min_revision is None and begin <= record.ended <= end
    ]


def _statuses(evaluations: Iterable[Evaluation], begin: float, end: float) -> list[int]:
    return [evaluation.status for evaluation in evaluations if begin <= evaluation.ended <= end]


HEADINGS = (
    "mode",
    "fault",
    "rounds",
    "gap in writes p50 / max",
    "writes back after the new leader, max",
    "failed reads",
    "acknowledged writes lost",
    "writes to the old primary",
    "refused commits on it",
)


def row(mode: str, several: Sequence[Figures]) -> tuple[str, ...]:
    """Return the line of the table for one mode and fault."""
    gaps = [each.gap_seconds for each in several]
    return (
        mode,
        several[0].kind,
        str(len(several)),
        f"{statistics.median(gaps):.1f} s / {max(gaps):.1f} s",
        f"{max(each.after_leader_seconds for each in several):.1f} s",
        f"{sum(each.failed_reads for each in several)} of {sum(each.reads for each in several)}",
        f"{sum(each.lost for each in several)} of {sum(each.acknowledged for each in several)}",
        str(sum(each.acknowledged_on_former for each in several)),
        str(sum(each.refused_on_former for each in several)),
    )
