"""The protection of an environment, and what allowed a write there."""

from typing import Annotated, Any

import msgspec

from app.names import KEY_LENGTH_MAX, PREFIXES_MAX, counted

APPROVALS_MAX = 20

Prefix = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_LENGTH_MAX)]
Prefixes = Annotated[tuple[Prefix, ...], msgspec.Meta(max_length=PREFIXES_MAX)]
Approvals = Annotated[int, msgspec.Meta(ge=1, le=APPROVALS_MAX)]


class Protection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many people must approve a write, and the keys that this covers.

    `self_approval` counts the approvals of a proposal's own authors. `keys` has prefixes; without
    one, all keys are covered.
    """

    approvals: Approvals = 1
    self_approval: bool = False
    keys: Prefixes = ()

    def covers(self, key: str) -> bool:
        return not self.keys or key.startswith(self.keys)


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What allowed a change set: an approved proposal, or an emergency.

    `proposal` is its ID, and `approvers` are the actors that approved it. The reason of an
    emergency is the message of the change set.
    """

    proposal: str | None = None
    approvers: tuple[str, ...] = ()
    emergency: bool = False


def protection_words(protection: Protection | None) -> str:
    """Return the protection for people, such as "2 approvals for all keys"."""
    if protection is None:
        return "none"
    text = counted(protection.approvals, "approval") + " for "
    text += (
        f"keys with the prefix {' or '.join(protection.keys)}" if protection.keys else "all keys"
    )
    return f"{text}, authors may approve" if protection.self_approval else text


def protection_of(column: Any) -> Protection | None:
    return None if column is None else msgspec.convert(column, Protection)


def approval_of(column: Any) -> Approval | None:
    return None if column is None else msgspec.convert(column, Approval)
