"""Check a history: a pure function of the clients' records and of the final state.

Each rule yields named violations, and knows nothing of how the history came about.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from tests.process.history.past import Past, Violation, check_past
from tests.process.history.people import PROTECTING
from tests.process.history.plan_rules import SCHEDULED, check_plans
from tests.process.history.proposal_rules import check_proposals
from tests.process.history.records import (
    Action,
    AppliedChange,
    Ending,
    Evaluated,
    Final,
    FinalProposal,
    Heard,
    Outcome,
    Read,
    Record,
    RequestedChange,
    Write,
)
from tests.process.history.wishes import PLANNED

# A writer gets 404, 409 or 412 when another was faster; 0 is a broken connection.
_ANSWERS = {0, 200, 201, 404, 409, 412, 503}


def violations(records: Sequence[Record], endings: Iterable[Ending]) -> list[Violation]:
    """Return each promise that the history breaks."""
    endings = list(endings)
    pasts = {end.environment: Past(end) for end in endings if isinstance(end, Final)}
    proposals = [end for end in endings if isinstance(end, FinalProposal)]
    actions = [record for record in records if isinstance(record, Action)]
    writes = [record for record in records if isinstance(record, Write)]
    reads = [record for record in records if isinstance(record, Read)]
    streams = defaultdict(list)
    for record in records:
        if isinstance(record, Heard):
            streams[record.client].append(record)
    violated = [violation for past in pasts.values() for violation in check_past(past)]
    violated += _answers(writes, reads)
    violated += _acknowledged(writes, pasts)
    violated += _once(writes, pasts)
    violated += _from_nowhere(writes, pasts)
    violated += _order(writes)
    violated += _never_back(reads)
    violated += _contents(reads, pasts)
    violated += check_proposals(actions, proposals, pasts)
    evaluations = [record for record in records if isinstance(record, Evaluated)]
    violated += check_plans(evaluations, pasts)
    for stream in streams.values():
        violated += _stream(stream, pasts[stream[0].environment])
    return violated


def _answers(writes: Iterable[Write], reads: Iterable[Read]) -> Iterator[Violation]:
    statuses = [(w.name, attempt.status) for w in writes for attempt in w.attempts]
    statuses += [(f"{read.client} at {read.started:.3f}", read.status) for read in reads]
    for who, status in statuses:
        if status not in _ANSWERS:
            yield Violation("answer_unexpected", f"{who} was answered {status}")


def _acknowledged(writes: Iterable[Write], pasts: Mapping[str, Past]) -> Iterator[Violation]:
    """Each acknowledged write is stored under its revision, with its versions and values."""
    won: dict[tuple[str, str, int], str] = {}
    for write in writes:
        if write.outcome is not Outcome.OK:
            continue
        values = {(wish.environment, wish.key): wish for wish in write.requested}
        for applied in write.applied:
            wish = values.get((applied.environment, applied.key))
            if not _is_present(applied, wish, pasts[applied.environment]):
                yield Violation("acknowledged_missing", f"{write.name} said {applied}")
            if applied.version is None:
                continue
            place = (applied.environment, applied.key, applied.version)
            if won.setdefault(place, write.name) != write.name:
                yield Violation("version_won_twice", f"{place}: {won[place]} and {write.name}")


def _is_present(applied: AppliedChange, wish: RequestedChange | None, past: Past) -> bool:
    change = past.change(applied.revision, applied.key)
    if change is None:
        return False
    if applied.version is None or change.after is None:
        return applied.version is None and change.after is None
    if wish is not None and wish.value != change.after.value:
        return False
    return change.after.version == applied.version


def _once(writes: Iterable[Write], pasts: Mapping[str, Past]) -> Iterator[Violation]:
    """An acknowledged write is stored once, an unknown one at most once; both completely."""
    for write in writes:
        if write.method == "DELETE":
            continue  # it has no message; check_past checks that each version is unique
        counts = [len(pasts[name].named(write.name)) for name in write.environments]
        applied = {applied.environment for applied in write.applied}
        if max(counts) > 1:
            yield Violation("write_made_twice", write.name)
        elif write.outcome is Outcome.REFUSED and any(counts):
            yield Violation("refused_yet_made", write.name)
        elif write.outcome is Outcome.UNKNOWN and len(set(counts)) > 1:
            yield Violation("write_made_in_part", f"{write.name}: {counts}")
        elif write.outcome is Outcome.OK and sum(counts) != len(applied):
            yield Violation("write_made_in_part", f"{write.name}: {counts}, said {sorted(applied)}")


def _from_nowhere(writes: Iterable[Write], pasts: Mapping[str, Past]) -> Iterator[Violation]:
    """Each change set belongs to a write that was not refused."""
    names = {PROTECTING}
    deletions: set[tuple[str, str, int]] = set()
    for write in writes:
        if write.outcome is Outcome.REFUSED:
            continue
        names.add(write.name)
        if write.method == "DELETE":
            deletions |= {(wish.environment, wish.key, wish.version) for wish in write.requested}
    for environment, past in pasts.items():
        for change_set in past.final.change_sets:
            is_created = environment == PLANNED and change_set.revision == 1
            is_step = environment == PLANNED and change_set.kind == SCHEDULED
            if is_created or is_step or change_set.approval is not None:
                continue  # check_plans and check_proposals know where they come from
            left = {
                (environment, change.key, change.before.version)
                for change in change_set.changes
                if change.before and not change.after
            }
            nobodys_deletion = change_set.message == "" and not (left and left <= deletions)
            if nobodys_deletion or (change_set.message and change_set.message not in names):
                yield Violation("from_nowhere", f"{environment}:{change_set.revision}")


def _order(writes: Iterable[Write]) -> Iterator[Violation]:
    """A write that began after another was acknowledged has the later revision."""
    spans = defaultdict(list)
    for write in writes:
        for environment, revision in {
            (applied.environment, applied.revision) for applied in write.applied
        }:
            spans[environment].append((write.started, write.ended, revision, write.name))
    for several in spans.values():
        yield from _backwards("order_of_time", several)


def _never_back(reads: Iterable[Read]) -> Iterator[Violation]:
    """A replica's process never serves an older revision than before."""
    spans = defaultdict(list)
    for read in reads:
        if read.status == 200:
            place = (read.replica, read.life, read.environment, read.epoch)
            spans[place].append((read.started, read.ended, read.revision, str(place)))
    for several in spans.values():
        yield from _backwards("replica_went_back", several, may_repeat=True)


def _backwards(
    name: str, spans: list[tuple[float, float, int, str]], *, may_repeat: bool = False
) -> Iterator[Violation]:
    """Compare each write with the highest revision of those that ended before it began."""
    ended = sorted(spans, key=lambda span: span[1])
    highest, position = -1, 0
    for started, _, revision, who in sorted(spans):
        while position < len(ended) and ended[position][1] < started:
            highest = max(highest, ended[position][2])
            position += 1
        if revision < highest or (revision == highest and not may_repeat):
            yield Violation(name, f"{who}: {revision} at {started:.3f} after {highest}")


def _contents(reads: Iterable[Read], pasts: Mapping[str, Past]) -> Iterator[Violation]:
    """Each answer is the state of its revision, which is not below the requested one."""
    for read in reads:
        if read.status != 200:
            continue
        past = pasts[read.environment]
        where = f"{read.replica} {read.environment}:{read.revision} at {read.started:.3f}"
        if read.epoch != past.final.epoch:
            yield Violation("epoch_changed", where)
        elif read.revision < (read.min_revision or 0):
            yield Violation("own_write_unseen", f"{where}, wanted {read.min_revision}")
        elif read.entries != past.states.get(read.revision):
            yield Violation("served_differs", where)


def _stream(stream: Sequence[Heard], past: Past) -> Iterator[Violation]:
    """A stream has each change of its prefix once, in order. Only a resync skips changes."""
    for heard in stream:
        if heard.epoch != past.final.epoch:
            yield Violation("epoch_changed", _place(heard))
        if heard.name == "change" and heard.keys != past.keys(heard.revision, heard.prefix):
            yield Violation("stream_told_wrong", f"{_place(heard)}: {heard.keys}")
    for before, heard in pairwise(stream):
        is_change = heard.name == "change"
        if heard.revision < before.revision + is_change:
            yield Violation("stream_went_back", f"{_place(heard)} after {before.revision}")
        elif heard.name != "resync":
            # An event with an ID alone also says that no earlier change will follow.
            for revision in range(before.revision + 1, heard.revision + (not is_change)):
                if past.keys(revision, heard.prefix):
                    yield Violation("stream_skipped", f"{_place(heard)}: {revision}")


def _place(heard: Heard) -> str:
    return f"{heard.client} on {heard.replica}, {heard.name} {heard.revision}"


def describe(violated: Sequence[Violation], most: int = 20) -> str:
    """Return the first violations as text."""
    lines = [f"{violation.name}: {violation.text}" for violation in violated[:most]]
    if len(violated) > most:
        lines.append(f"and {len(violated) - most} more")
    return "\n".join(lines)
