"""Say how the plan of a flag changed."""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import UnsetType

from app.evaluation.plans.instants import text_of
from app.evaluation.plans.plan import PLAN, ReleasePlan, Step, read_plan
from app.flags.change_words.sentences import (
    CHANGED,
    MOVED,
    NOW,
    WAS,
    Part,
    Sentence,
    name,
    sentence,
    verb,
)
from app.flags.change_words.values import describe_value
from app.flags.plan_words import hold_words, step_words
from app.names import counted

_CONTINUED = verb("was continued", "continues")


def describe_plan(before: Any, after: Any) -> Iterator[Sentence]:
    """Yield the sentences of the member `plan`, UNSET where a definition has none."""
    old, new = _read(before), _read(after)
    if isinstance(before, UnsetType) and isinstance(after, UnsetType):
        return
    if isinstance(before, UnsetType) and new is not None:
        yield sentence("Plan ", name(new.name), " ", WAS, " added: ", _summary(new))
    elif isinstance(after, UnsetType) and old is not None:
        yield sentence("Plan ", name(old.name), " ", WAS, " removed")
    elif old is None or new is None:
        yield from describe_value(("Member ", name(PLAN)), before, after)
    else:
        described = list(_describe_changes(old, new))
        yield from described or describe_value(("Member ", name(PLAN)), before, after)


def _read(plan: Any) -> ReleasePlan | None:
    return None if isinstance(plan, UnsetType) else read_plan({PLAN: plan})


def _describe_changes(old: ReleasePlan, new: ReleasePlan) -> Iterator[Sentence]:
    if old.name != new.name and old.steps != new.steps:
        what = ("Plan ", name(old.name), " ", WAS, " replaced by ", name(new.name))
        yield sentence(*what, ": ", _summary(new))
        return
    if old.name != new.name:
        yield sentence("Plan ", name(old.name), " ", WAS, " renamed to ", name(new.name))
    if old.paused_at is None and new.paused_at is not None:
        yield sentence("Plan ", name(new.name), " ", WAS, " paused")
    if old.paused_at is not None and new.paused_at is None:
        yield sentence("Plan ", name(new.name), " ", _CONTINUED)
    if old.is_linear is not new.is_linear:
        way = "continuously between its steps" if new.is_linear else "only at its steps"
        yield sentence("The percentage of the plan ", NOW, "grows ", way)
    yield from _describe_steps(old.steps, new.steps)


def _describe_steps(old: Sequence[Step], new: Sequence[Step]) -> Iterator[Sentence]:
    moved: list[tuple[int, int]] = []
    for before, after in zip(old, new, strict=False):
        text, later = _text(before), _text(after)
        if text != later:
            yield sentence(*_step(after), " ", CHANGED, ": ", name(text), " → ", name(later))
        elif before.targeting != after.targeting:
            yield sentence("The rules of step ", str(after.number), " of the plan ", CHANGED)
        if before.at != after.at:
            moved.append((after.number, after.at - before.at))
    yield from _describe_moves(moved, new)
    for step in new[len(old) :]:
        yield sentence(*_step(step), " ", WAS, " added: ", name(_text(step)), ", ", _time(step.at))
    for step in old[len(new) :]:
        yield sentence(*_step(step), " ", WAS, " removed: ", name(_text(step)))


def _describe_moves(moved: Sequence[tuple[int, int]], steps: Sequence[Step]) -> Iterator[Sentence]:
    """Yield one sentence for steps in a row that moved by the same time."""
    first = 0
    for position, (number, by) in enumerate(moved):
        following = moved[position + 1] if position + 1 < len(moved) else None
        if following == (number + 1, by):
            continue
        start = moved[first][0]
        which = f"Step {number}" if start == number else f"Steps {start} to {number}"
        direction = "later" if by > 0 else "earlier"
        at = _time(steps[start - 1].at)
        yield sentence(
            f"{which} of the plan ", MOVED, f" {_duration(abs(by))} {direction}, to {at}"
        )
        first = position + 1


def _summary(plan: ReleasePlan) -> str:
    steps = counted(len(plan.steps), "step")
    return f"{steps}, from {_time(plan.steps[0].at)}" if plan.steps else steps


def _step(step: Step) -> tuple[Part, ...]:
    return (f"Step {step.number} of the plan",)


def _text(step: Step) -> str:
    return ", ".join([*step_words(step), *hold_words(step)])


def _time(seconds: int) -> str:
    return text_of(seconds).replace("T", " ").replace(":00Z", " UTC").replace("Z", " UTC")


def _duration(seconds: int) -> str:
    """Return a duration by its two largest units, such as `1 d 2 h`."""
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
