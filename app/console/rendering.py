"""Pages as answers, and the frame around each: navigation, environment, moment, caller."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp_jinja2
from aiohttp import web

from app.access.caller import Caller
from app.access.guard import CALLER
from app.access.models import Scope
from app.access.sessions.cookie import is_secure
from app.configuration.changes.authority import PROPERTIES
from app.configuration.changes.past import Moment
from app.configuration.snapshots.reading import FOLLOWER
from app.console.save_effect import SaveEffect, effect_of
from app.console.state import EnvironmentState, read_revision
from app.console.static_files import STATIC
from app.environments.models import Environment
from app.evaluation.ruleset import Ruleset
from app.settings import Tier

# The environment of the last visit.
ENVIRONMENT_COOKIE = "flagstone-environment"
_REMEMBERED_SECONDS = 365 * 24 * 3600
THEME_COOKIE = "flagstone-theme"
THEMES = ("system", "light", "dark")
_TIERS = [str(tier) for tier in Tier]
# The filters of the list of flags, which mean the same in each environment.
_FLAG_FILTERS = ("q", "state", "prefix", "type", "stale", "differs", "week", "mine", "sort")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The data of the layout, the same for each page.

    `caller` is None on pages that need no sign-in. `environment` is None on pages that belong to no
    environment; their menu leads to `menu_environment`, which was visited last. `rules` are those
    of the environment, None on pages that read no snapshot. `saved` is the revision that the last
    save made, which the page offers to undo. `reverted` is the revision that this save reverted,
    None if it reverted none.
    """

    root: str
    path: str
    query: Mapping[str, str]
    theme: str
    caller: Caller | None
    environments: tuple[Environment, ...]
    environment: Environment | None
    key: str | None
    menu_environment: Environment | None
    rules: Ruleset | None
    moment: Moment | None
    stale_seconds: int
    saved: int | None
    reverted: int | None

    @property
    def is_past(self) -> bool:
        return self.moment is not None

    @property
    def may_write(self) -> bool:
        """Return whether the caller may change what the page shows, or propose a change."""
        return self.may("propose") and not self.is_past

    @cached_property
    def save(self) -> SaveEffect:
        """What a save does with the key of the page, or else with a key of its environment."""
        return self.save_of(None if self.key is None else [self.key])

    @cached_property
    def save_of_properties(self) -> SaveEffect:
        return self.save_of([PROPERTIES])

    def save_of(self, keys: Collection[str] | None) -> SaveEffect:
        """Return what a save of keys in the environment of the page does."""
        if self.environment is None or self.caller is None:
            raise LookupError("The page belongs to no environment.")
        return effect_of(self.caller.rights, self.environment, keys, self.rules)

    def save_in(self, name: str, keys: Collection[str] | None = None) -> SaveEffect | None:
        """Return what a save does in another environment, None for one that the caller sees not."""
        environment = next((item for item in self.environments if item.name == name), None)
        if environment is None or self.caller is None:
            return None
        return effect_of(self.caller.rights, environment, keys)

    @property
    def sees_service(self) -> bool:
        """Return whether the caller may open the pages of the service: not with some keys alone."""
        return self.caller is not None and self.caller.rights.has_all_keys([Scope.READ], None)

    @property
    def limited_to(self) -> str:
        """The keys of the environment that the caller may read, in words. Empty for all keys."""
        if self.caller is None or self.environment is None:
            return ""
        readable = self.caller.rights.keys(Scope.READ, self.environment.name)
        return "" if readable.is_all else readable.words

    @property
    def latest_revision(self) -> int:
        """The revision that the environment of the page has now, 0 without an environment."""
        name = self.environment.name if self.environment is not None else None
        return next((item.revision for item in self.environments if item.name == name), 0)

    @property
    def has_protection(self) -> bool:
        """Return whether changes of an environment that the caller sees need approvals."""
        return any(environment.protection is not None for environment in self.environments)

    @property
    def has_proposals(self) -> bool:
        """Return whether the caller may have an inbox of proposals."""
        if self.caller is None or not self.caller.rights.has(Scope.READ):
            return False
        return self.has_protection or not self.may("write")

    def may(self, scope: str) -> bool:
        """Return whether the caller has a scope for the key or the environment of the page.

        Without both, whether the caller has it anywhere.
        """
        if self.caller is None:
            return False
        rights, action = self.caller.rights, Scope(scope)
        if self.environment is None:
            return rights.has(action)
        keys = rights.keys(action, self.environment.name)
        return bool(keys) if self.key is None else self.key in keys

    def may_anywhere(self, scope: str, *, all_keys: bool = False) -> bool:
        """Return whether the caller has a scope in any environment, for a key or for all keys."""
        if self.caller is None:
            return False
        return bool(self.caller.rights.environments(Scope(scope), all_keys=all_keys))

    def may_for_all_keys(self, scope: str) -> bool:
        """Return whether the caller has a scope for all keys of the environment of the page."""
        name = self.environment.name if self.environment is not None else None
        return self.caller is not None and self.caller.rights.has_all_keys([Scope(scope)], name)

    def url(self, *path: str, **query: object) -> str:
        """Return the address of a page of this environment, at the moment of this page."""
        name = self.environment.name if self.environment is not None else ""
        return self.url_in(name, *path, **query)

    def url_in(self, environment: str, *path: str, **query: object) -> str:
        """Return the address of a page of an environment, at the moment of this page.

        A revision is a moment of its own environment only.
        """
        is_own = self.environment is not None and self.environment.name == environment
        names = ("at", "revision") if is_own else ("at",)
        moment = {name: self.query[name] for name in names if self.query.get(name)}
        return self.url_of("environments", environment, *path, **{**moment, **query})

    def switched_to(self, environment: str) -> str:
        """Return the address of this page in another environment, or that of its flags.

        The page of an action on flags would not exist without them.
        """
        if self.environment is None:
            return self.url_in(environment, "flags")
        rest = self.path.removeprefix(f"/console/environments/{self.environment.name}")
        if rest == "/flag-actions":
            rest = "/flags"
        own = ("revision",) if self.environment.name == environment else ()
        names = ("at", *own, *(_FLAG_FILTERS if rest == "/flags" else ()))
        query = {name: self.query[name] for name in names if self.query.get(name)}
        return (
            self.url_of("environments", environment)
            + rest
            + (f"?{urlencode(query)}" if query else "")
        )

    def url_of(self, *path: str, **query: object) -> str:
        """Return the address of a page of the console. Parameters that are None are left out."""
        address = "/".join([f"{self.root}/console", *(quote(part, safe="/") for part in path)])
        parameters = {name: value for name, value in query.items() if value is not None}
        return f"{address}?{urlencode(parameters)}" if parameters else address

    def here(self, **query: object) -> str:
        """Return the address of this page with other parameters. None removes a parameter."""
        changed = {**{name: value for name, value in self.query.items() if value}, **query}
        parameters = {name: value for name, value in changed.items() if value is not None}
        return f"{self.root}{self.path}" + (f"?{urlencode(parameters)}" if parameters else "")


def page(
    request: web.Request,
    template: str,
    *,
    state: EnvironmentState | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **data: Any,
) -> web.Response:
    """Return a template as a response. It gets the `frame`, and the names of `data`.

    Give `state` on each page of an environment. A fragment for htmx is a template that does not
    extend the layout.
    """
    around = frame(request, state)
    text = aiohttp_jinja2.render_string(
        template, request, {"frame": around, "state": state, **data}
    )
    response = web.Response(text=text, status=status, headers=headers, content_type="text/html")
    response.enable_compression()
    _remember(request, response, around)
    return response


def frame(request: web.Request, state: EnvironmentState | None = None) -> Frame:
    theme = request.cookies.get(THEME_COOKIE, "")
    caller = request.get(CALLER)
    environments = tuple(_visible(request, caller))
    environment = _environment(request, state, environments)
    return Frame(
        root=request.app[STATIC].root,
        path=request.rel_url.raw_path,
        query=dict(request.query),
        theme=theme if theme in THEMES else "system",
        caller=caller,
        environments=environments,
        environment=environment,
        key=request.match_info.get("key"),
        menu_environment=environment or _last_visited(request, environments),
        rules=state.snapshot.rules if state is not None else None,
        moment=state.moment if state is not None else None,
        stale_seconds=round(request.app[FOLLOWER].stale_seconds),
        saved=read_revision(request, "saved"),
        reverted=read_revision(request, "reverted"),
    )


def _remember(request: web.Request, response: web.Response, around: Frame) -> None:
    """Store the environment of the page in a cookie, which `_last_visited` reads."""
    environment = around.environment
    if environment is not None and request.cookies.get(ENVIRONMENT_COOKIE) != environment.name:
        response.set_cookie(
            ENVIRONMENT_COOKIE,
            environment.name,
            path=f"{around.root}/console",
            max_age=_REMEMBERED_SECONDS,
            secure=is_secure(request),
            httponly=True,
            samesite="Strict",
        )


def _environment(
    request: web.Request, state: EnvironmentState | None, environments: tuple[Environment, ...]
) -> Environment | None:
    """Return the environment of the page. One that the caller may not see is as if unknown."""
    if state is not None:
        return state.snapshot.environment
    name = request.match_info.get("environment")
    return next((item for item in environments if item.name == name), None)


def _last_visited(
    request: web.Request, environments: tuple[Environment, ...]
) -> Environment | None:
    """Return the environment that the cookie names, or the first one."""
    name = request.cookies.get(ENVIRONMENT_COOKIE)
    named = (environment for environment in environments if environment.name == name)
    return next(named, environments[0] if environments else None)


def _visible(request: web.Request, caller: Caller | None) -> Iterator[Environment]:
    follower = request.app[FOLLOWER]
    if caller is None or not follower.is_loaded:
        return
    every = follower.environments().values()
    for environment in sorted(every, key=lambda item: (_TIERS.index(item.tier), item.name)):
        if caller.rights.covers(Scope.READ, environment.name):
            yield environment
