"""Read the person from verified claims: subject, name, e-mail address and groups."""

from collections.abc import Mapping
from typing import Any

from app.access.oidc.id_tokens import subject_of
from app.access.oidc.signatures import TokenError
from app.access.people.models import GROUPS_MAX, IDENTIFIER_MAX
from app.access.people.sign_in import PersonIdentity
from app.log import logger

log = logger(__name__)

# Longer than each name and address that can be stored, so a cut address is still left out.
_TEXT_MAX = 1_000


def identity_of(claims: Mapping[str, Any], issuer: str, groups_claim: str) -> PersonIdentity:
    """Return the person of verified claims. Only the subject is required.

    Raises TokenError without a usable subject, and for groups that cannot be used.
    """
    # An address that is not verified may be that of another person. Amazon Cognito sends a text.
    is_unverified = claims.get("email_verified") in (False, "false")
    return PersonIdentity(
        issuer=issuer,
        subject=subject_of(claims),
        name=_text(claims.get("name")) or _text(claims.get("preferred_username")),
        email="" if is_unverified else _text(claims.get("email")),
        groups=_groups(claims, groups_claim),
    )


def session_in(claims: Mapping[str, Any]) -> str | None:
    """Return the session at the provider, None if the claims have none that can be stored."""
    sid = claims.get("sid")
    is_usable = isinstance(sid, str) and 0 < len(sid) <= IDENTIFIER_MAX and sid.isprintable()
    return sid if is_usable else None


def has_groups(claims: Mapping[str, Any], groups_claim: str) -> bool:
    return _find(claims, groups_claim) is not None


def _groups(claims: Mapping[str, Any], groups_claim: str) -> frozenset[str]:
    value = _find(claims, groups_claim)
    if value is None:
        _refuse_distributed(claims, groups_claim)
        # Several providers leave out an empty list.
        return frozenset()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise TokenError(
            f"the claim {groups_claim} (OIDC_GROUPS_CLAIM) is neither a text nor a list of texts"
        )
    groups = frozenset(filter(None, values))
    if len(groups) > GROUPS_MAX:
        raise TokenError(
            f"you have {len(groups)} groups, and at most {GROUPS_MAX} are allowed. The provider "
            "can send only the groups of this application"
        )
    usable = frozenset(
        group for group in groups if len(group) <= IDENTIFIER_MAX and group.isprintable()
    )
    if usable != groups:
        log.warning("oidc_groups_ignored", groups=len(groups - usable))
    return usable


def _refuse_distributed(claims: Mapping[str, Any], groups_claim: str) -> None:
    """Refuse groups that the provider offers elsewhere, as Entra ID does above 200."""
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, dict) and groups_claim in elsewhere:
        raise TokenError(
            "you have more groups than the provider sends. It can send only the groups of this "
            "application"
        )


def _find(claims: Mapping[str, Any], path: str) -> Any:
    """Return the value of a claim. A name with dots is a claim, or else a path into objects."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def _text(value: Any) -> str:
    """Return the printable characters of a string, empty for a value of another type."""
    if not isinstance(value, str):
        return ""
    return "".join(filter(str.isprintable, value)).strip()[:_TEXT_MAX]
