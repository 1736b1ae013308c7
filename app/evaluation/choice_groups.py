"""Evaluate flags that choose among known answers, in groups of equal conditions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.evaluation.choices import SPLIT_STEPS_MAX, Choice, Draw, Seeding, Splits, Tail
from app.evaluation.engine import Flag
from app.evaluation.parts import Part
from app.evaluation.run import Run
from app.evaluation.values import is_truthy

# The position of a flag in its section, and its choice.
_Placed = tuple[int, Choice]


class _Column:
    """The answers of several flags for one condition, bodies and splits, with their positions."""

    __slots__ = ("bodies", "positions", "splits")

    def __init__(self, answers: Iterable[tuple[int, bytes | Draw]]) -> None:
        self.bodies: list[bytes] = []
        self.positions: list[int] = []
        draws: defaultdict[Seeding, list[Draw]] = defaultdict(list)
        drawn: defaultdict[Seeding, list[int]] = defaultdict(list)
        for position, answer in answers:
            if isinstance(answer, Draw):
                draws[answer.seeding].append(answer)
                drawn[answer.seeding].append(position)
            else:
                self.bodies.append(answer)
                self.positions.append(position)
        self.splits = [(key, Splits(of_key, drawn[key])) for key, of_key in draws.items()]


class _Group:
    """Flags with equal conditions."""

    __slots__ = ("_choices", "_columns", "_conditions", "_distinct", "positions")

    def __init__(self, conditions: Sequence[Part], choices: Sequence[_Placed]) -> None:
        self.positions = [position for position, _ in choices]
        self._choices = choices
        self._conditions = conditions
        self._distinct = frozenset(conditions)
        # By the position of the condition. Most contexts meet none, or one of a few.
        self._columns: dict[int, _Column] = {}

    def column(self, met: set[Part]) -> _Column:
        """Return the answers for the first condition that is met, or for none."""
        first = -1
        if not met.isdisjoint(self._distinct):
            first = next(at for at, part in enumerate(self._conditions) if part in met)
        column = self._columns.get(first)
        if column is None:
            column = _Column((at, choice.answers[first]) for at, choice in self._choices)
            self._columns[first] = column
        return column


class ChoiceGroups:
    """The flags of a section that choose among known answers."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._flags = len(flags)
        choices = groupable(flags)
        by_conditions: defaultdict[tuple[Part, ...], list[_Placed]] = defaultdict(list)
        for position, choice in choices.items():
            by_conditions[choice.conditions].append((position, choice))
        self._groups = [_Group(*group) for group in by_conditions.items()]
        self._alone = [position for position in range(len(flags)) if position not in choices]
        # The conditions that only test a string, by attribute and string, and all others.
        self._tests: defaultdict[str, defaultdict[str, list[Part]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._others: list[Part] = []
        for part in dict.fromkeys(part for conditions in by_conditions for part in conditions):
            test = part.node.text_test
            if test is None:
                self._others.append(part)
            else:
                for text in test.texts:
                    self._tests[test.attribute][text].append(part)

    def choose(self, evaluation: "ChoiceEvaluation") -> tuple[list[bytes], Sequence[int]]:
        """Return the bodies of all flags in their order, and the positions of those to evaluate
        alone, which have no body yet.
        """
        bodies = [b""] * self._flags
        if not self._groups:
            return bodies, self._alone
        met = self._met(evaluation)
        if met is None:
            return bodies, range(self._flags)
        run, alone = evaluation.run, self._alone.copy()
        drawn: defaultdict[Seeding, Splits] = defaultdict(Splits)
        for group in self._groups:
            column = group.column(met)
            if column.splits and not all(evaluation.tail(seeding) for seeding, _ in column.splits):
                alone += group.positions
                continue
            for position, body in zip(column.positions, column.bodies, strict=True):
                bodies[position] = body
            for seeding, splits in column.splits:
                drawn[seeding].add(splits)
        for seeding, splits in drawn.items():
            if tail := evaluation.tail(seeding):
                answers = seeding.draw(tail, splits)
                run.steps = max(0, run.steps - tail.steps * len(answers))
                for position, body in zip(splits.positions, answers, strict=True):
                    bodies[position] = body
        return bodies, alone

    def _met(self, evaluation: "ChoiceEvaluation") -> set[Part] | None:
        """Return the conditions that are met; None if one fails, or tests a value of another type
        as a string.

        The steps of all are at least those of each flag, whose split needs some too. So a flag that
        has its answer from here would not fail alone.
        """
        context, run, known = evaluation.context, evaluation.run, evaluation.known
        met: set[Part] = set()
        for attribute, by_text in self._tests.items():
            value = context.get(attribute)
            if type(value) is str:
                met.update(by_text.get(value, ()))
            elif value is not None:
                return None
        for part in self._others:
            is_met = known.get(part)
            if is_met is None:
                before = run.steps
                try:
                    is_met = is_truthy(part.node.run(context, run))
                except Exception:  # noqa: BLE001 - it is raised again and handled for its flags
                    return None
                # Other sections spend the steps of a costly condition themselves.
                if run.steps == before:
                    known[part] = is_met
            if is_met:
                met.add(part)
        return met if run.steps >= SPLIT_STEPS_MAX else None


class ChoiceEvaluation:
    """One evaluation of the flags of all sections that choose among known answers."""

    def __init__(self, context: Mapping[str, Any], run: Run) -> None:
        self.context = context
        self.run = run
        # The conditions that were evaluated without spending steps.
        self.known: dict[Part, bool] = {}
        self._tails: dict[Seeding, Tail | None] = {}

    def tail(self, seeding: Seeding) -> Tail | None:
        """Return the bytes to hash; None if this context cannot be hashed in one pass."""
        if seeding not in self._tails:
            self._tails[seeding] = seeding.tail(self.context)
        return self._tails[seeding]


def groupable(flags: Sequence[Flag]) -> dict[int, Choice]:
    """Return the choices, by position, whose conditions are shared enough to evaluate all of them.

    A flag alone evaluates at least one condition. So a section must have less than one condition
    per flag on average. Those that only test a string do not count: they are found by the string.
    """
    choices = {at: flag.choice for at, flag in enumerate(flags) if flag.choice is not None}
    uses = Counter(part for choice in choices.values() for part in _evaluated(choice))
    return {
        position: choice
        for position, choice in choices.items()
        if sum(1 / uses[part] for part in _evaluated(choice)) < 1
    }


def _evaluated(choice: Choice) -> Iterable[Part]:
    return (part for part in choice.conditions if part.node.text_test is None)
