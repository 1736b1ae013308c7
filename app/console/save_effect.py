"""What a save does for the caller: it writes, it makes a proposal, or it is refused.

Every button, hint and confirmation of a write takes its words from here. `saving.write` decides:
only its transaction knows the protection and all keys for certain.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from app.access.models import Scope
from app.access.permissions import Rights
from app.configuration.changes.authority import PROPERTIES, outside
from app.console.confirmation import needs_confirmation
from app.environments.models import Environment
from app.environments.protection import Protection
from app.evaluation.ruleset import Ruleset


class SaveKind(Enum):
    """EITHER writes some keys, and proposes others."""

    WRITE = auto()
    PROPOSE = auto()
    EITHER = auto()
    NONE = auto()


@dataclass(frozen=True, kw_only=True)
class SaveEffect:
    """The effect of a save in an environment, with its words.

    `has_emergency` is true if the caller may write without the approval that is needed.
    """

    environment: Environment
    kind: SaveKind
    has_emergency: bool = False

    @property
    def is_allowed(self) -> bool:
        return self.kind is not SaveKind.NONE

    @property
    def proposes(self) -> bool:
        return self.kind is SaveKind.PROPOSE

    @property
    def needs_name(self) -> bool:
        """Return whether a costly write needs the typed name of the environment."""
        is_written = self.kind in {SaveKind.WRITE, SaveKind.EITHER}
        return is_written and needs_confirmation(self.environment)

    @property
    def needs_name_in_emergency(self) -> bool:
        return self.has_emergency and needs_confirmation(self.environment)

    @property
    def is_always_written(self) -> bool:
        return self.kind is SaveKind.WRITE

    @property
    def hint(self) -> str:
        """Return why nothing is written, or what becomes of a proposal. Empty for a write."""
        name = self.environment.name
        if not self.is_allowed:
            return f"You may neither write nor propose this in {name}."
        if self.kind is SaveKind.EITHER:
            return "Keys that you may not write, and protected keys, become a proposal."
        if not self.proposes:
            return ""
        step = "it is approved and applied"
        if self.environment.protection is None:
            step = "a person with the right to write there applies it"
        return f"This creates a proposal. Nothing changes in {name} until {step}."

    def label(self, text: str, proposal: str = "") -> str:
        """Return the text of a button. `text` says the write, as an imperative."""
        as_proposal = proposal or f"Propose to {text[:1].lower()}{text[1:]}"
        match self.kind:
            case SaveKind.PROPOSE:
                return as_proposal
            case SaveKind.EITHER:
                return f"{text} or propose it"
            case _:
                return text


def effect_of(
    rights: Rights,
    environment: Environment,
    keys: Collection[str] | None = None,
    rules: Ruleset | None = None,
) -> SaveEffect:
    """Return the effect of a save of these keys, or of any keys for None.

    `rules` are those of the environment: a key that a protected flag uses is protected too.
    """
    if keys is None:
        return _effect_of_any(rights, environment)
    write = rights.keys(Scope.WRITE, environment.name)
    if outside(rights.keys(Scope.PROPOSE, environment.name), keys):
        return SaveEffect(environment=environment, kind=SaveKind.NONE)
    if outside(write, keys):
        return SaveEffect(environment=environment, kind=SaveKind.PROPOSE)
    protection = environment.protection
    covered = [key for key in keys if protection and _covers(protection, key, rules)]
    if not covered:
        return SaveEffect(environment=environment, kind=SaveKind.WRITE)
    publish = rights.keys(Scope.PUBLISH, environment.name)
    return SaveEffect(
        environment=environment,
        kind=SaveKind.PROPOSE,
        has_emergency=not outside(publish, covered),
    )


def _effect_of_any(rights: Rights, environment: Environment) -> SaveEffect:
    name, protection = environment.name, environment.protection
    write, propose = (rights.keys(scope, name) for scope in (Scope.WRITE, Scope.PROPOSE))
    kind = SaveKind.EITHER
    if not propose:
        kind = SaveKind.NONE
    elif not write or (protection is not None and not protection.keys):
        kind = SaveKind.PROPOSE
    elif write.includes(propose) and protection is None:
        kind = SaveKind.WRITE
    return SaveEffect(environment=environment, kind=kind)


def _covers(protection: Protection, key: str, rules: Ruleset | None) -> bool:
    if key == PROPERTIES or protection.covers(key):
        return True
    if rules is None:
        return False
    whole = rules.whole or rules
    using = whole.users({key}) if key in whole.segments else set[str]()
    return any(protection.covers(user) for user in whole.with_dependents({key} | using))
