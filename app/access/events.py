"""What the access log tells: events, where they come from, and one access whole.

Everything in it is bounded and printable before it goes anywhere: nobody can fill the disk with one
row, or make one line look like two.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

# Of a field without a length of its own here. The database holds the same by a named rule.
LENGTH_MAX = 255
_ENVIRONMENT_MAX = 63
_NOBODY = "anonymous"


class AccessEvent(StrEnum):
    """The words of the OWASP logging vocabulary, and two in its style: `authn_token_rotated`, and
    `schema_change`, which the migrator alone writes.
    """

    LOGIN_FAIL = "authn_login_fail"
    TOKEN_CREATED = "authn_token_created"  # noqa: S105 - the name of an event, like the next two
    TOKEN_ROTATED = "authn_token_rotated"  # noqa: S105
    TOKEN_REVOKED = "authn_token_revoked"  # noqa: S105
    ACCESS_FAIL = "authz_fail"
    ADMINISTRATION = "authz_admin"
    SECRET_READ = "sensitive_read"  # noqa: S105
    RATE_LIMITED = "excess_rate_limit_exceeded"
    SCHEMA_CHANGE = "schema_change"
    BACKUP_CREATED = "backup_created"
    BACKUP_RESTORED = "backup_restored"


class Decision(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"


class Access(msgspec.Struct, frozen=True, kw_only=True, tag_field="log", tag="access"):
    """One row and one line of the access log; the names are those of the columns.

    `token_id` is the id of the token that was shown, good or not; `resource` is what it was about:
    a key, or the id of another token. `at` None is the time of the transaction. `count` is above 1
    where equal ones were gathered, the first at `at` and the last at `last_at`.
    """

    at: datetime | None = None
    last_at: datetime | None = None
    count: int = 1
    event: AccessEvent
    decision: Decision
    actor: str
    token_id: str | None = None
    client: str | None = None
    request_id: str | None = None
    method: str | None = None
    route: str | None = None
    environment: str | None = None
    resource: str | None = None
    version: int | None = None
    detail: str | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something, and from where.

    `actor` is `token:ID`, `operator:NAME` at the command line, or `system:WHAT`. The rest is there
    for a request; `route` is the template, since a path may tell more than a log should keep.
    """

    actor: str = _NOBODY
    token_id: str | None = None
    client: str | None = None
    request_id: str | None = None
    method: str | None = None
    route: str | None = None

    def did(
        self,
        event: AccessEvent,
        *,
        environment: str | None = None,
        resource: str | None = None,
        version: int | None = None,
        detail: str | None = None,
    ) -> Access:
        """Return the access for what is done now. Never give it a value, or a token's text."""
        return self._access(event, Decision.ALLOWED, environment, resource, version, detail)

    def was_refused(
        self,
        event: AccessEvent,
        *,
        environment: str | None = None,
        resource: str | None = None,
        detail: str | None = None,
    ) -> Access:
        """Return the access for what is not done."""
        return self._access(event, Decision.REFUSED, environment, resource, None, detail)

    def _access(
        self,
        event: AccessEvent,
        decision: Decision,
        environment: str | None,
        resource: str | None,
        version: int | None,
        detail: str | None,
    ) -> Access:
        return Access(
            event=event,
            decision=decision,
            actor=_harmless(self.actor) or _NOBODY,
            token_id=_harmless(self.token_id),
            client=_harmless(self.client),
            request_id=_harmless(self.request_id),
            method=_harmless(self.method),
            route=_harmless(self.route),
            environment=_harmless(environment, _ENVIRONMENT_MAX),
            resource=_harmless(resource),
            version=version,
            detail=_harmless(detail),
        )


def _harmless(text: str | None, length_max: int = LENGTH_MAX) -> str | None:
    """Return the text, its beginning if it is long; what does not print is spelt out.

    ESC and line breaks are, and so are the marks that turn the direction of writing, NUL, and the
    lone surrogates that stand for bytes which are no text.
    """
    if text is None or (len(text) <= length_max and text.isprintable()):
        return text
    printable = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(printable)[:length_max]
