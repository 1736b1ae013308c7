"""The figures of the failover test, from histories that break one promise each."""

from collections.abc import Sequence

from tests.failover.faults import Commit, Observation
from tests.failover.load import Evaluation
from tests.failover.result import Figures, figures, row
from tests.process.history.records import (
    AppliedChange,
    Attempt,
    Change,
    ChangeSet,
    Entry,
    Final,
    Outcome,
    Read,
    Record,
    Write,
)

_STARTED, _LEADER_AT, _HEALED_AT = 100.0, 110.0, 120.0


def _write(name: str, at: float, revision: int, outcome: Outcome = Outcome.OK) -> Write:
    applied = AppliedChange(environment="local", revision=revision, key="a", version=revision)
    return Write(
        client="w",
        name=name,
        method="PUT",
        path="",
        environments=("local",),
        requested=(),
        attempts=(Attempt("r0", at - 0.1, at, 200),),
        outcome=outcome,
        applied=(applied,) if outcome is Outcome.OK else (),
    )


def _read(at: float, status: int, min_revision: int | None = None) -> Read:
    return Read(
        client="r",
        replica="r0",
        life=1,
        environment="local",
        min_revision=min_revision,
        started=at - 0.1,
        ended=at,
        status=status,
    )


def _final(*messages: str) -> Final:
    """Return a history with one write of each name, with the versions 1, 2 and so on."""
    change_sets = tuple(
        ChangeSet(
            revision,
            message,
            (Change("a", Entry(revision - 1, 0) if revision > 1 else None, Entry(revision, 0)),),
        )
        for revision, message in enumerate(messages, 1)
    )
    return Final(
        environment="local",
        epoch="one",
        revision=len(messages),
        change_sets=change_sets,
        entries={},
        properties=Entry(1, {}),
        reported=(),
        served={},
        streams={},
    )


def _figures(
    records: Sequence[Record],
    final: Final,
    evaluations: Sequence[Evaluation] = (),
    commits: Sequence[Commit] = (),
) -> Figures:
    observation = Observation(
        kind="primary killed",
        started=_STARTED,
        leader_at=_LEADER_AT,
        healed_at=_HEALED_AT,
        commits_on_former=commits,
    )
    return figures(observation, records, evaluations, [final])


def test_gap_reaches_from_last_to_next_acknowledged_write() -> None:
    records = [
        _write("w.1", 101, 1),
        _write("w.2", 105, 2, Outcome.UNKNOWN),
        _write("w.3", 112, 2),
        _write("w.4", 119, 3),
    ]

    found = _figures(records, _final("w.1", "w.3", "w.4"))

    assert (found.gap_seconds, found.after_leader_seconds) == (11, 2)
    assert (found.acknowledged, found.lost) == (3, 0)


def test_no_write_after_the_fault_is_a_gap_to_its_end() -> None:
    found = _figures([], _final())

    assert (found.gap_seconds, found.after_leader_seconds) == (20, 10)


def test_missing_or_replaced_write_is_lost() -> None:
    records = [_write("w.1", 101, 1), _write("w.2", 102, 2), _write("w.3", 103, 3)]

    found = _figures(records, _final("w.1", "w.9"))

    assert found.lost == 2


def test_failed_reads_of_the_fault_are_counted() -> None:
    records = [_read(99, 0), _read(101, 0), _read(102, 200), _read(103, 503, min_revision=7)]
    evaluations = [Evaluation("r0", 104, 200), Evaluation("r0", 105, -1)]

    found = _figures(records, _final(), evaluations)

    assert (found.failed_reads, found.reads) == (2, 4)


def test_commit_on_former_primary_is_acknowledged_or_refused() -> None:
    records = [
        _write("w.1", 111, 1),
        _write("w.2", 112, 2),
        _write("w.3", 113, 3, Outcome.UNKNOWN),
    ]
    commits = [Commit("local", 2, "w.2"), Commit("local", 3, "w.3")]

    found = _figures(records, _final("w.1"), commits=commits)

    assert (found.acknowledged_on_former, found.refused_on_former) == (1, 1)


def test_row_has_median_maximum_and_sums() -> None:
    several = [
        _figures([_write("w.1", at, 1), _read(101, 503)], _final("w.1")) for at in (105, 112, 113)
    ]

    cells = row("synchronous", several)

    assert cells[2:6] == ("3", "13.0 s / 15.0 s", "10.0 s", "3 of 3")
