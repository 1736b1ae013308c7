"""Evaluate flags that choose among known answers, in groups of equal conditions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.evaluation.body_block import BodyBlock
from app.evaluation.choices import SPLIT_STEPS_MAX, Choice, Draw, Seeding, Splits, Tail
from app.evaluation.engine import Flag
from app.evaluation.parts import Part
from app.evaluation.run import Run
from app.evaluation.values import is_truthy

# The position of a flag in its section, and its choice.
_Placed = tuple[int, Choice]


# The limit of remembered answers of a section. Most contexts meet one of a few sets of conditions.
_MET_MAX = 16
# Splits with equal ones are drawn together: how they hash, and whether they have two answers.
_Drawing = tuple[Seeding, bool]


class _Column:
    """The answers of several flags for one condition, bodies and splits, with their positions."""

    __slots__ = ("bodies", "positions", "splits")

    def __init__(self, answers: Iterable[tuple[int, bytes | Draw]]) -> None:
        self.bodies: list[bytes] = []
        self.positions: list[int] = []
        draws: defaultdict[_Drawing, list[Draw]] = defaultdict(list)
        drawn: defaultdict[_Drawing, list[int]] = defaultdict(list)
        for position, answer in answers:
            if isinstance(answer, Draw):
                drawing = answer.seeding, answer.is_pair
                draws[drawing].append(answer)
                drawn[drawing].append(position)
            else:
                self.bodies.append(answer)
                self.positions.append(position)
        self.splits = {
            drawing: Splits(are_pairs=drawing[1], draws=draws[drawing], positions=positions)
            for drawing, positions in drawn.items()
        }


class _Group:
    """Flags with equal conditions."""

    __slots__ = ("_choices", "_columns", "_conditions", "_distinct")

    def __init__(self, conditions: Sequence[Part], choices: Sequence[_Placed]) -> None:
        self._choices = choices
        self._conditions = conditions
        self._distinct = frozenset(conditions)
        # By the position of the condition. Most contexts meet none, or one of a few.
        self._columns: dict[int, _Column] = {}

    def column(self, met: frozenset[Part]) -> _Column:
        """Return the answers for the first condition that is met, or for none."""
        first = -1
        if not met.isdisjoint(self._distinct):
            first = next(at for at, part in enumerate(self._conditions) if part in met)
        column = self._columns.get(first)
        if column is None:
            column = _Column((at, choice.answers[first]) for at, choice in self._choices)
            self._columns[first] = column
        return column


class _Answers:
    """The answers of a section's flags for one set of conditions that are met.

    `bodies` has b"" for a split, and for a flag that is evaluated alone. `block` has the bodies if
    all are known. `is_one_drawing` says that every flag has a split, and one drawing has them all
    in the order of the flags.
    """

    __slots__ = ("block", "bodies", "is_one_drawing", "splits")

    def __init__(self, columns: Iterable[_Column], flags: int) -> None:
        bodies = [b""] * flags
        splits: dict[_Drawing, Splits] = {}
        for column in columns:
            for position, body in zip(column.positions, column.bodies, strict=True):
                bodies[position] = body
            for drawing, of_column in column.splits.items():
                if drawing not in splits:
                    splits[drawing] = Splits(are_pairs=drawing[1])
                splits[drawing].add(of_column)
        self.bodies = bodies
        self.splits = [(seeding, of_key) for (seeding, _), of_key in splits.items()]
        self.is_one_drawing = [of_key.positions for of_key in splits.values()] == [[*range(flags)]]
        self.block = BodyBlock(bodies) if all(bodies) else None


class ChoiceGroups:
    """The flags of a section that choose among known answers at an instant."""

    def __init__(self, flags: Sequence[Flag], now: int) -> None:
        self._flags = len(flags)
        choices = groupable(flags, now)
        by_conditions: defaultdict[tuple[Part, ...], list[_Placed]] = defaultdict(list)
        for position, choice in choices.items():
            by_conditions[choice.conditions].append((position, choice))
        self._groups = [_Group(*group) for group in by_conditions.items()]
        self._alone = [position for position in range(len(flags)) if position not in choices]
        self._answers: dict[frozenset[Part], _Answers] = {}
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

    def choose(
        self, evaluation: "ChoiceEvaluation"
    ) -> tuple[BodyBlock | list[bytes], Sequence[int]]:
        """Return the bodies of all flags in their order, and the positions of those to evaluate
        alone, which have no body yet.
        """
        if not self._groups:
            return [b""] * self._flags, self._alone
        met = self._met(evaluation)
        if met is None:
            return [b""] * self._flags, range(self._flags)
        answers = self._answers.get(met) or self._remember(met)
        if answers.block is not None:
            return answers.block, ()
        run, alone = evaluation.run, self._alone
        bodies = [] if answers.is_one_drawing else answers.bodies.copy()
        for seeding, splits in answers.splits:
            tail = evaluation.tail(seeding)
            if tail is None:
                alone = [*alone, *splits.positions]
                continue
            drawn = seeding.draw(tail, splits)
            run.steps = max(0, run.steps - tail.steps * len(drawn))
            if answers.is_one_drawing:
                return drawn, alone
            for position, body in zip(splits.positions, drawn, strict=True):
                bodies[position] = body
        return bodies or answers.bodies.copy(), alone

    def _remember(self, met: frozenset[Part]) -> _Answers:
        answers = _Answers((group.column(met) for group in self._groups), self._flags)
        if len(self._answers) >= _MET_MAX:
            self._answers.clear()
        self._answers[met] = answers
        return answers

    def _met(self, evaluation: "ChoiceEvaluation") -> frozenset[Part] | None:
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
        return frozenset(met) if run.steps >= SPLIT_STEPS_MAX else None


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


def groupable(flags: Sequence[Flag], now: int = 0) -> dict[int, Choice]:
    """Return the choices at an instant, by position, whose conditions are shared enough.

    Then all of them are evaluated.

    A flag alone evaluates at least one condition. So a section must have less than one condition
    per flag on average. Those that only test a string do not count: they are found by the string.
    """
    found = (
        flag.choice if flag.choice_at is None else flag.choice_at(now)  # a plan, for example
        for flag in flags
    )
    choices = {at: choice for at, choice in enumerate(found) if choice is not None}
    uses = Counter(part for choice in choices.values() for part in _evaluated(choice))
    return {
        position: choice
        for position, choice in choices.items()
        if sum(1 / uses[part] for part in _evaluated(choice)) < 1
    }


def _evaluated(choice: Choice) -> Iterable[Part]:
    return (part for part in choice.conditions if part.node.text_test is None)
