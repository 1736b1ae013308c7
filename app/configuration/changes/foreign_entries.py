"""Hide entries that the author of a change may not read from errors and warnings.

A check of a change set may find a problem in other entries: one that refers to a removed segment, a
flag whose guard breaks. The field of such a violation begins with the key of that entry.
"""

import re
from collections.abc import Iterable

from app.access.permissions import Keys
from app.errors import AppError, Violation, as_sentence

# By code of the error, what entries outside of the author's keys have to do with it.
_REASONS = {
    "segment_in_use": "Entries outside of your keys refer to a segment that the change removes.",
    "flag_needed": "Flags outside of your keys need a flag or a variant that the change removes.",
    "reference_unknown": "Segments outside of your keys refer to a segment that does not exist.",
    "reference_circular": "Segments refer to each other in a cycle through entries outside of "
    "your keys.",
    "prerequisite_circular": "Flags need each other in a circle through flags outside of your "
    "keys.",
    "flag_not_compiling": "Flags or segments outside of your keys would no longer compile.",
    "guard_broken": "Guards of flags outside of your keys would no longer hold.",
    "guards_costly": "Guards of flags outside of your keys would take too long.",
}
# A key has no bracket.
_GUARD = re.compile(r"\.guards(?:\[[0-9]+\])?$")


def shown(violations: Iterable[Violation], visible: Keys) -> list[Violation]:
    """Return the violations of entries that the author may read."""
    return [item for item in violations if _GUARD.sub("", item.field) in visible]


def without_foreign(error: AppError, visible: Keys) -> AppError:
    """Return an error of a check without the entries that the author may not read."""
    if visible.is_all or error.code not in _REASONS:
        return error
    violations = shown(error.violations, visible)
    if error.code == "flag_not_compiling":
        # The text may quote a part of a segment that the entry uses.
        rule = "cannot be evaluated with the segments that it uses"
        violations = [Violation(item.field, rule) for item in violations]
    elif len(violations) == len(error.violations):
        return error
    texts = [as_sentence(violations)] if violations else []
    if len(violations) < len(error.violations):
        texts.append(_REASONS[error.code])
    return type(error)(error.code, " ".join(texts), violations)
