"""Find all violations that an import of a file into an empty environment would refuse.

The checks are those of an import and of a change set. An import stops at the first kind of mistake,
but the linter goes on.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.configuration.changes.flag_checks import broken_guards
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.prerequisites import check_added_needs, flags_of
from app.configuration.changes.properties import check_size
from app.configuration.changes.references import (
    cycle_violations,
    find_cycles,
    find_unresolved,
    reachable,
    referenced_names,
    rule_of,
)
from app.configuration.json_schema.pool import Checkers
from app.configuration.transfer.document_checks import VIOLATIONS_MAX, examine
from app.configuration.transfer.document_reader import read_file
from app.configuration.transfer.documents import Document, Format, shown
from app.errors import AppError, Violation
from app.evaluation.engine import FlagSet
from app.evaluation.flag_compiler import FlagCompiler
from app.evaluation.validation import compile_violation


@dataclass(frozen=True, kw_only=True)
class Lint:
    """The number of entries in a file, its invalid entries, and probable mistakes."""

    entries: int
    problems: Sequence[Violation]
    warnings: Sequence[str]


def lint_file(
    path: Path, format_: Format | None, checkers: Checkers, *, fractional: str, now: int
) -> Lint:
    """Check a file as an import does. `now` is in Unix seconds."""
    problems: list[Violation] = []
    document = _read(path, format_, problems)
    if document is None:
        return Lint(entries=0, problems=problems, warnings=())
    warnings: list[str] = []
    try:
        findings = examine(document, checkers, lenient=False)
        problems += [*findings.refused, *findings.members]
        warnings = [*document.warnings, *map(str, findings.advice)]
        check_size(document.metadata or {})
    except AppError as error:
        problems += error.violations
    problems += _of_needs(document.entries, _keys_of(problems, document.entries))
    problems += _of_rules(document.entries, _keys_of(problems, document.entries))
    problems += _of_guards(document, _keys_of(problems, document.entries), fractional, now)
    return Lint(entries=len(document.entries), problems=problems, warnings=warnings)


def _read(path: Path, format_: Format | None, problems: list[Violation]) -> Document | None:
    """Return the document without the parts that cannot be stored, or None if it is unreadable."""
    try:
        return read_file(path, format_)
    except AppError as error:
        is_key = error.code == "key_invalid"
        problems += [
            Violation(shown(violation.field) if is_key else violation.field, violation.rule)
            for violation in error.violations
        ]
    try:
        return read_file(path, format_, lenient=True)
    except AppError:
        return None


def _keys_of(problems: Sequence[Violation], entries: Mapping[str, Content]) -> set[str]:
    """Return the entries with a problem. Later checks skip them."""
    fields = [problem.field for problem in problems]
    return {
        key
        for key in entries
        if any(field == key or field.startswith((f"{key}.", f"{key}[")) for field in fields)
    }


def _of_rules(entries: Mapping[str, Content], wrong: set[str]) -> list[Violation]:
    """Return unresolved and circular references, and rules that do not compile."""
    referring = {key: set(referenced_names(content)) for key, content in entries.items()}
    segments = {key: referring[key] for key, entry in entries.items() if entry.kind is Kind.SEGMENT}
    problems = list(islice(find_unresolved(referring, segments), VIOLATIONS_MAX))
    for circle in islice(find_cycles(segments), VIOLATIONS_MAX):
        problems += cycle_violations(circle)
    # Rules that refer to these do not compile either. The reason is reported once.
    users: dict[str, set[str]] = defaultdict(set)
    for key, names in referring.items():
        for name in names:
            users[name].add(key)
    affected = wrong | reachable({problem.field for problem in problems}, users)
    rules = {
        key: rule
        for key, content in entries.items()
        if key not in affected and (rule := rule_of(content))
    }
    values = {key: entries[key].value for key in segments}
    violations = (compile_violation(key, rule, values) for key, rule in rules.items())
    return [*problems, *islice(filter(None, violations), VIOLATIONS_MAX)]


def _of_needs(entries: Mapping[str, Content], wrong: set[str]) -> list[Violation]:
    """Return needs of unknown flags and variants, circles and chains that are too long."""
    flags = flags_of(entries)
    needs = {key: facts.needs for key, facts in flags.items() if key not in wrong}
    return check_added_needs(needs, flags, lenient=True)


def _of_guards(document: Document, wrong: set[str], fractional: str, now: int) -> list[Violation]:
    entries = document.entries
    flags = [
        (key, entry.value)
        for key, entry in entries.items()
        if key not in wrong
        and entry.kind is Kind.FLAG
        and isinstance(entry.value, dict)
        and entry.value.get("guards")
    ]
    segments = {key: entry.value for key, entry in entries.items() if entry.kind is Kind.SEGMENT}
    flag_set = FlagSet(segments, fractional, document.metadata or {})
    definitions = {key: entry.value for key, entry in entries.items() if entry.kind is Kind.FLAG}
    violations = broken_guards(flags, FlagCompiler(flag_set, definitions.get).flag_set, now)
    try:
        return list(islice(violations, VIOLATIONS_MAX))
    except AppError as error:
        return list(error.violations)
