"""The refusals for a lack of rights: each names the missing right, the keys, and who can give it.

The caller has named the keys, so a refusal may repeat them. It says nothing of what exists.
"""

from app.access.models import Scope
from app.access.permissions import Keys
from app.errors import Forbidden, Violation

BY_ADMINISTRATOR = "An administrator can give it."
BY_OWNER = "An administrator can give it, or an owner of the project of the key."


def scope_words(scope: Scope) -> str:
    """Return the scopes that suffice: write includes propose."""
    return "the scope write or propose" if scope is Scope.PROPOSE else f"the scope {scope}"


def scope_missing(scope: Scope) -> Forbidden:
    """Return the refusal of a caller who has the scope nowhere."""
    return Forbidden("scope_missing", f"This needs {scope_words(scope)}. {BY_ADMINISTRATOR}")


def all_keys_needed(scope: Scope) -> Forbidden:
    """Return the refusal of a caller who has the scope for some keys alone."""
    text = f"This needs {scope_words(scope)} for all keys. {BY_ADMINISTRATOR}"
    return Forbidden("all_keys_needed", text)


def environment_foreign(which: str = "this environment") -> Forbidden:
    """Return the refusal of a caller without rights in an environment. It may not exist."""
    text = f"Your rights do not cover {which}. An administrator can extend them."
    return Forbidden("environment_foreign", text)


def key_foreign(scope: Scope, key: str, held: Keys) -> Forbidden:
    """Return the refusal for a key of the request. `held` are the keys that the scope holds for."""
    return Forbidden("key_foreign", f"{key} is outside of your rights. {limits(scope, held)}")


def proposal_foreign(scopes: str) -> Forbidden:
    """Return the refusal of a caller who has these scopes for none of a proposal's keys."""
    return Forbidden("key_foreign", f"This needs {scopes} for a key of the proposal. {BY_OWNER}")


def beyond_own(code: str, field: str) -> Forbidden:
    """Return the refusal of an administrator who gives or manages more than they hold."""
    violation = Violation(field, "must be among the caller's own")
    text = f"{violation}. An administrator who holds more can do this."
    return Forbidden(code, text, [violation])


def limits(scope: Scope, held: Keys) -> str:
    """Return what the caller has of a scope, and who can give more."""
    words = scope_words(scope)
    own = f"You have {words} for {held.words} alone" if held else f"This needs {words}"
    return f"{own}. {BY_OWNER}"
