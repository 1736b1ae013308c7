"""The destinations of the palette."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.access.models import EVERY_ENVIRONMENT, Scope
from app.console.entry_pages import page_of_kind
from app.console.rendering import Frame
from app.flags.summary import FlagSummary

_ICONS = {"flag": "flag", "segment": "users", "secret": "key-round"}


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A result: where it leads, and the kind of thing that is there.

    `state` is that of a flag in `environment`. `synonyms` are further words that find it.
    """

    name: str
    kind: str
    icon: str
    url: str
    state: str = ""
    environment: str = ""
    synonyms: str = ""


def describe(around: Frame, kind: str, key: str) -> Destination:
    """Return the page of an entry."""
    icon = _ICONS.get(kind, "sliders-horizontal")
    return Destination(name=key, kind=kind, icon=icon, url=around.url(page_of_kind(kind), key))


def describe_flag(around: Frame, environment: str, flag: FlagSummary) -> Destination:
    """Return the page of a flag in an environment, with its state there."""
    return Destination(
        name=flag.key,
        kind="flag",
        icon="flag",
        url=around.url_in(environment, "flags", flag.key),
        state=flag.rollout.text,
        environment=environment,
    )


def destinations(around: Frame) -> Mapping[str, Destination]:
    """Return the pages and actions by their name, as the caller may use them."""
    of_environment = [
        ("Flags", "flag", "flags"),
        ("Settings", "sliders-horizontal", "settings"),
        ("Segments", "users", "segments"),
        ("Changes", "history", "changes"),
        ("Compare environments", "git-compare", "compare"),
        ("Import and export", "upload", "transfer"),
    ]
    of_service = [("Sessions", "monitor", "sessions")]
    if around.may_anywhere("admin"):
        of_service.insert(0, ("Access tokens", "key-round", "tokens"))
    if around.may_anywhere("admin", all_keys=True):
        of_service.append(("Access log", "list", "access-log"))
    if around.sees_service:
        of_service += [
            ("Database schema", "database", "schema"),
            ("Health", "activity", "health"),
        ]
    listed = [
        *(
            Destination(name=n, kind="page", icon=i, url=around.url(p))
            for n, i, p in of_environment
        ),
        *(
            Destination(
                name=f"Go to {other.name}",
                kind="environment",
                icon="layers",
                url=around.url_in(other.name, "flags"),
            )
            for other in around.environments
            if around.environment is None or other.name != around.environment.name
        ),
        *(Destination(name=n, kind="page", icon=i, url=around.url_of(p)) for n, i, p in of_service),
    ]
    creations = _creations(around)
    # Without a query the first results are shown: the most frequent action, then pages.
    listed = [*creations[:1], *listed, *creations[1:], *_other_actions(around)]
    return {destination.name: destination for destination in listed}


def _creations(around: Frame) -> list[Destination]:
    """Return the actions that create something, the most frequent first."""
    of_environment = [
        ("Create a flag", "new-flag", {}),
        ("Create a setting", "settings-new", {}),
        ("Create a secret", "settings-new", {"kind": "secret"}),
        ("Create a segment", "segments-new", {}),
    ]
    urls: dict[str, str] = {}
    if around.may_write:
        urls |= {name: around.url(path, **query) for name, path, query in of_environment}
    if around.may_anywhere("admin"):
        urls["Create a token"] = around.url_of("tokens/new")
    if around.may_anywhere("admin", all_keys=True):
        urls["Create an environment"] = around.url_of("new-environment")
    return [_action(name, "plus", url, "new add") for name, url in urls.items()]


def _other_actions(around: Frame) -> list[Destination]:
    actions = []
    if around.may_write and len(around.environments) > 1:
        name = "Promote or copy to another environment"
        actions.append(_action(name, "arrow-right", around.url("compare")))
    if around.environment is not None:
        properties = around.url("environment")
        actions.append(_action("Properties of this environment", "layers", properties))
    if around.caller is not None and around.caller.rights.covers_all(
        Scope.ADMIN, EVERY_ENVIRONMENT
    ):
        actions.append(
            _action("Examine this installation", "activity", around.url_of("health/doctor"))
        )
    return actions


def _action(name: str, icon: str, url: str, synonyms: str = "") -> Destination:
    return Destination(name=name, kind="action", icon=icon, url=url, synonyms=synonyms)
