"""Plain data for the templates of settings and secrets."""

from dataclasses import dataclass

from aiohttp import web

from app.access.guard import CALLER
from app.access.models import Scope
from app.configuration.changes.models import Kind
from app.configuration.snapshots.snapshot import Configuration
from app.console.copying.texts import CopyTexts
from app.console.entry_drafts import DraftConflict, PendingChange
from app.console.forms import FormErrors, RefusedAction
from app.console.json_text import pretty
from app.console.pages import is_fragment
from app.console.rendering import frame, page
from app.console.settings.forms import EntryForm
from app.console.settings.typed_value import TYPES
from app.console.state import EnvironmentState
from app.secrets.reveal import VAULT

_TYPE_LABELS = {
    "text": "Text",
    "number": "Number",
    "boolean": "True or false",
    "null": "Null",
    "json": "JSON",
}


@dataclass(frozen=True, kw_only=True)
class EntryPage:
    """The page of an entry, or of a new one when `entry` is None.

    `texts` write the pending change from a terminal.
    `is_posted` says that the form shows what was posted. `secret` is a revealed value as text.
    `has_key_ring` is false when this service can neither store nor reveal secrets.
    """

    entry: Configuration | None
    form: EntryForm
    pending: PendingChange | None = None
    texts: CopyTexts | None = None
    errors: FormErrors | None = None
    conflict: DraftConflict | None = None
    is_posted: bool = False
    has_key_ring: bool = True
    secret: str | None = None
    refused: RefusedAction | None = None

    @property
    def value_text(self) -> str:
        return "" if self.entry is None else pretty(self.entry.value)

    @property
    def is_secret(self) -> bool:
        return self.form.kind == Kind.SECRET

    @property
    def types(self) -> list[tuple[str, str]]:
        """The types that a value can have, with their labels."""
        types = ("text", "json") if self.is_secret else TYPES
        return [(type_, _TYPE_LABELS[type_]) for type_ in types]


def has_key_ring(request: web.Request, kind: str) -> bool:
    """Return whether entries of this kind can be stored: secrets need a key ring."""
    return kind != Kind.SECRET or request.app[VAULT].keys.wrapper is not None


def other_environments(request: web.Request, state: EnvironmentState) -> list[str]:
    """Return the other environments to which the caller may copy the key of the page."""
    rights, key = request[CALLER].rights, request.match_info.get("key", "")
    name = state.snapshot.environment.name
    return [
        item.name
        for item in frame(request, state).environments
        if item.name != name and key in rights.keys(Scope.PROPOSE, item.name)
    ]


def show_entry(
    request: web.Request,
    state: EnvironmentState,
    shown: EntryPage,
    *,
    status: int = 200,
    part: str | None = None,
) -> web.Response:
    """Return the page of an entry, or for htmx a part of it: the form, or the pending changes."""
    template = "settings/entry.html"
    if is_fragment(request):
        template = "settings/_pending.html" if part == "pending" else "settings/_form.html"
    return page(request, template, state=state, status=status, shown=shown)
