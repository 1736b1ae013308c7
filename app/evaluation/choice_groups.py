"""Evaluate flags that choose among known answers, in groups of equal conditions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.evaluation.choices import SPLIT_STEPS_MAX, Choice, Draw, Seeding, Splits, Tail
from app.evaluation.engine import Flag
from app.evaluation.parts import Part
from app.evaluation.run import Run
from app.evaluation.values import is_truthy

# The number of splits that are drawn before the caller can yield to the event loop.
_PORTION_SPLITS = 2_048


class _Column:
    """The answers of several flags for one condition: bodies, and splits to draw."""

    __slots__ = ("bodies", "splits")

    def __init__(self, answers: Iterable[bytes | Draw]) -> None:
        self.bodies: list[bytes] = []
        draws: defaultdict[Seeding, list[Draw]] = defaultdict(list)
        for answer in answers:
            if isinstance(answer, Draw):
                draws[answer.seeding].append(answer)
            else:
                self.bodies.append(answer)
        self.splits = [(seeding, Splits(of_seeding)) for seeding, of_seeding in draws.items()]


class _Group:
    """Flags with equal conditions."""

    __slots__ = ("_choices", "_columns", "_conditions", "_distinct", "flags")

    def __init__(self, conditions: Sequence[Part], flags: Mapping[Flag, Choice]) -> None:
        self.flags = list(flags)
        self._choices = list(flags.values())
        self._conditions = conditions
        self._distinct = frozenset(conditions)
        # By the position of the condition. Most contexts meet none, or one of a few.
        self._columns: dict[int, _Column] = {}

    def column(self, met: set[Part]) -> _Column:
        """Return the answers for the first condition that is met, or for none."""
        position = -1
        if not met.isdisjoint(self._distinct):
            position = next(at for at, part in enumerate(self._conditions) if part in met)
        column = self._columns.get(position)
        if column is None:
            column = _Column([choice.answers[position] for choice in self._choices])
            self._columns[position] = column
        return column


class ChoiceGroups:
    """The flags of a section that choose among known answers."""

    def __init__(self, choices: Mapping[Flag, Choice]) -> None:
        self._flags = list(choices)
        by_conditions: defaultdict[tuple[Part, ...], dict[Flag, Choice]] = defaultdict(dict)
        for flag, choice in choices.items():
            by_conditions[choice.conditions][flag] = choice
        self._groups = [_Group(*group) for group in by_conditions.items()]
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

    def choose(self, evaluation: "ChoiceEvaluation") -> tuple[list[bytes], list[Flag]]:
        """Return the known bodies, and the flags that must be evaluated alone.

        The splits that follow from the conditions are added to the evaluation.
        """
        met = self._met(evaluation)
        if met is None:
            return [], self._flags
        bodies: list[bytes] = []
        alone: list[Flag] = []
        for group in self._groups:
            column = group.column(met)
            if evaluation.add_splits(column.splits):
                bodies += column.bodies
            else:
                alone += group.flags
        return bodies, alone

    def _met(self, evaluation: "ChoiceEvaluation") -> set[Part] | None:
        """Return the conditions that are met; None if one fails, or tests a value of another type
        as a string.

        The steps of all are at least those of each flag, whose splits need some too. So a flag that
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
        self._drawings: dict[Seeding, _Drawing | None] = {}

    def add_splits(self, added: Sequence[tuple[Seeding, Splits]]) -> bool:
        """Add splits to draw, unless this context cannot be hashed for one of them."""
        drawings = []
        for seeding, splits in added:
            if seeding not in self._drawings:
                tail = seeding.tail(self.context)
                self._drawings[seeding] = None if tail is None else _Drawing(tail, Splits())
            drawing = self._drawings[seeding]
            if drawing is None:
                return False
            drawings.append((drawing, splits))
        for drawing, splits in drawings:
            drawing.splits.add(splits)
        return True

    def draw(self) -> Iterator[tuple[list[bytes], int]]:
        """Yield the answers of all splits in portions, with the steps that they spend."""
        for seeding, drawing in self._drawings.items():
            if drawing is None:
                continue
            (hashed, steps), splits = drawing
            for start in range(0, len(splits), _PORTION_SPLITS):
                bodies = seeding.draw(hashed, splits.rows(start, start + _PORTION_SPLITS))
                yield bodies, steps * len(bodies)


class _Drawing(NamedTuple):
    """The splits to draw with the same bytes of an attribute."""

    tail: Tail
    splits: Splits


def groupable(flags: Iterable[Flag]) -> dict[Flag, Choice]:
    """Return the flags with a choice whose conditions are shared enough to evaluate all of them.

    A flag alone evaluates at least one condition. So a section must have less than one condition
    per flag on average. Those that only test a string do not count: they are found by the string.
    """
    choices = {flag: flag.choice for flag in flags if flag.choice is not None}
    uses = Counter(part for choice in choices.values() for part in _evaluated(choice))
    return {
        flag: choice
        for flag, choice in choices.items()
        if sum(1 / uses[part] for part in _evaluated(choice)) < 1
    }


def _evaluated(choice: Choice) -> Iterable[Part]:
    return (part for part in choice.conditions if part.node.text_test is None)
