"""The query parameters of a write: a dry run, and an emergency in a protected environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.access.permissions import Rights
from app.access.refusals import BY_ADMINISTRATOR
from app.configuration.changes.authority import Authority
from app.configuration.changes.models import MESSAGE_MAX
from app.errors import Forbidden, invalid, malformed
from app.http import wire

# `proposals/handlers.py` acts on `propose`.
OPTIONS = {"dry_run", "emergency", "propose"}


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """The options, and the rights of the caller."""

    rights: Rights
    dry_run: bool = False
    emergency: bool = False

    @property
    def is_plain(self) -> bool:
        return not self.dry_run and not self.emergency

    def authority(self, message: str) -> Authority:
        """Return what allows the write. Raises Invalid for an emergency without a reason."""
        if self.emergency and not message.strip():
            raise invalid("message", "must give the reason of the emergency")
        return Authority(rights=self.rights, emergency=self.emergency, is_dry_run=self.dry_run)


def read_options(request: web.Request) -> WriteOptions:
    """Return the options of a write without other parameters. Raises as `options_of`."""
    return options_of(request, wire.read_query(request, OPTIONS))


def options_of(request: web.Request, query: Mapping[str, str]) -> WriteOptions:
    """Return the options in a query. Raises Malformed, and Forbidden for an emergency."""
    emergency = wire.flag(query, "emergency")
    if emergency:
        check_publish(request)
    wire.flag(query, "propose")
    return WriteOptions(
        rights=request[CALLER].rights,
        dry_run=wire.flag(query, "dry_run"),
        emergency=emergency,
    )


def check_publish(request: web.Request) -> None:
    """Require the scope for writing without approval in any environment. Raises Forbidden.

    `approvals.decide` requires it for each covered key.
    """
    if not request[CALLER].rights.has(Scope.PUBLISH):
        raise Forbidden(
            "scope_missing", f"An emergency needs the scope publish. {BY_ADMINISTRATOR}"
        )


def message_of(query: Mapping[str, str], default: str = "") -> str:
    """Return the parameter `message`. Raises Malformed for a text that is too long."""
    message = query.get("message", default)
    if len(message) > MESSAGE_MAX:
        raise malformed("message", f"must have at most {MESSAGE_MAX} characters")
    return message
