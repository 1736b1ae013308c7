"""Every request that reads, for a caller of some keys: from the table of routes and of pages.

A new route that reads needs a line in `REQUESTS`, or in `CLOSED` if it is not for such callers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.console.routes import PAGES, ConsolePage
from app.http.routing import Route
from app.server.routes import ROUTES
from tests.api.access.two_owners import PADDING

_LOCAL = "/v1/environments/{environment}"
_PAGE = "/console/environments/{environment}"
_FLAGS = "/ofrep/v1/evaluate/flags"
_PAST = f"revision={PADDING + 9}"
_MOMENTS = (_PAST, "at=2000-01-01T00:00:00Z")
_CONTEXTS = [{"targetingKey": "a"}]
_SEGMENT = {"kind": "segment", "value": {"==": [{"var": "plan"}, "pro"]}}

# The queries and bodies of a route, by method and path. `{key}` is that of a flag, unless the path
# says otherwise. The first request of a route must succeed.
Requests = tuple[tuple[str, Any], ...]


def queries(*texts: str) -> Requests:
    return tuple((text, None) for text in ("", *texts))


def bodies(*values: Any) -> Requests:
    return tuple(("", value) for value in values)


REQUESTS: Mapping[str, Requests] = {
    f"GET {_LOCAL}/configurations/{{key}}": queries(*_MOMENTS, "reveal=true"),
    f"GET {_LOCAL}/configurations/{{key}}/history": queries("limit=1"),
    f"GET {_LOCAL}/configurations": queries(
        *_MOMENTS,
        "limit=1",
        "limit=2&after=shop/flag",
        "prefix=z",
        "prefix=zqx/",
        "kind=segment",
        "after=a",
        "after=zqx/flag",
        "min_revision=1",
    ),
    f"POST {_FLAGS}/{{key}}": bodies({}, {"context": {"targetingKey": "a"}}),
    f"POST {_FLAGS}": bodies({}, {"context": {"targetingKey": "a"}}),
    f"POST {_LOCAL}{_FLAGS}/{{key}}": bodies({}, {"context": {"targetingKey": "a"}}),
    f"POST {_LOCAL}{_FLAGS}": bodies({}, {"context": {"targetingKey": "a"}}),
    f"GET {_LOCAL}/lists/{{key}}/values": queries("limit=1", "value=own", _PAST),
    f"GET {_LOCAL}/lists/{{key}}/export": queries("type=text/csv", _PAST),
    "GET /v1/environments": queries(),
    f"GET {_LOCAL}": queries(*_MOMENTS),
    f"GET {_LOCAL}/flags/usage": queries(),
    f"POST {_LOCAL}/flags/{{key}}/evaluate": bodies({}, {"context": {"targetingKey": "a"}}),
    f"GET {_LOCAL}/flags/{{key}}/plan": queries("at=2040-01-01T00:00:00Z"),
    f"POST {_LOCAL}/preview": bodies(
        {"changes": {"shop/segment": _SEGMENT}, "contexts": _CONTEXTS},
        {"changes": {"shop/segment": None}, "contexts": _CONTEXTS},
        {"changes": {"shop/flag": None, "zqx/segment": None}, "contexts": _CONTEXTS},
    ),
    f"GET {_LOCAL}/changes": queries("limit=1", "before=70", "before=76&limit=3"),
    f"GET {_LOCAL}/changes/{{revision}}": queries("limit=1", "after=shop/a"),
    f"GET {_LOCAL}/events": queries("prefix=z", "prefix=shop/"),
    f"GET {_LOCAL}/export": queries(
        *(f"format={name}" for name in ("json", "yaml", "env", "flagd")),
        *("reveal=true", *_MOMENTS, "format=yaml&revision=70"),
    ),
    f"GET {_LOCAL}/flags.json": queries(),
    "GET /v1/flags": queries(),
    "POST /flagd.sync.v1.FlagSyncService/FetchAllFlags": bodies({}),
    "POST /flagd.sync.v1.FlagSyncService/GetMetadata": bodies({}),
    f"GET {_LOCAL}/diff": (
        *(("from=1", None), ("from=1&to=66", None), ("from=70", None), ("from=0&limit=2", None)),
        *(("against=staging", None), ("from=0&after=shop/flag", None)),
    ),
    "GET /v1/proposals": queries("limit=1", "state=open", "environment=local", "author=token:a"),
    "GET /v1/proposals/events": queries(),
    "GET /v1/proposals/{proposal}": queries(),
    "GET /v1/proposals/{proposal}/preview": queries("environment=local"),
    "POST /v1/proposals/{proposal}/evaluate": bodies(
        {"environment": "local", "flag": "shop/flag"}, {"environment": "local", "flag": "zqx/flag"}
    ),
    "GET /v1/tokens": queries("limit=1"),
    "GET /v1/tokens/{id}": queries(),
    "GET /v1/people": queries("limit=1", "search=zqx"),
    "GET /v1/people/{id}": queries(),
    "GET /v1/roles": queries(),
    "GET /v1/roles/{name}": queries(),
    "GET /v1/grants": queries("limit=1", "role=viewer", "environment=local"),
    "GET /v1/grants/{id}": queries(),
    "GET /v1/projects": queries(),
    "GET /v1/projects/{name}": queries(),
    "GET /v1/access/history": queries("limit=1"),
    "GET /v1/access/who": tuple(
        (f"scope={scope}&environment=local&key={key}", None)
        for scope, key in (("write", "shop/flag"), ("read", "shop/"), ("read", "zqx/flag"))
    ),
    "GET /v1/access/check": (
        ("actor=operator:a&scope=read&environment=local&key=shop/flag", None),
        ("actor=operator:a&scope=read&environment=local&key=zqx/flag", None),
    ),
}
# Those that are not for callers of some keys.
CLOSED = {
    "GET /health",
    "GET /metrics",
    "GET /v1/access-log",
    "GET /v1/schema-audit",
    "GET /v1/migrations",
}
# The queries of pages, beside the empty one.
PAGE_QUERIES: Mapping[str, tuple[str, ...]] = {
    f"{_PAGE}/flags": (_PAST, "q=zqx", "q=flag", "state=rules", "view=json", "limit=1"),
    f"{_PAGE}/flags/{{key}}": (_PAST, "view=json", "view=plan"),
    f"{_PAGE}/palette": ("q=z", "q=zqx", "q=flag", "q=segment"),
    f"{_PAGE}/new-flag-key": ("key=zqx/flag", "key=zqx/new", "key=shop/flag"),
    f"{_PAGE}/flag-actions": (
        "action=switch-off&flag=shop/flag",
        "action=switch-off&flag=zqx/flag",
    ),
    f"{_PAGE}/flag-plan-control/{{key}}": ("action=pause",),
    f"{_PAGE}/flag-copy/{{key}}": ("source=staging", "source=local"),
    f"{_PAGE}/changes": ("revision=62", "key=zqx", "key=shop", "q=zqx", "before=70"),
    f"{_PAGE}/settings": ("prefix=zqx", "q=zqx", "q=setting", _PAST),
    f"{_PAGE}/settings-new": ("kind=secret",),
    f"{_PAGE}/settings/{{key}}": ("as=json", _PAST),
    f"{_PAGE}/settings-copy/{{key}}": ("to=staging",),
    f"{_PAGE}/segments/{{key}}": ("view=json", _PAST),
    f"{_PAGE}/compare": ("against=staging", "from=66", "from=0"),
    f"{_PAGE}/export": ("format=json", "format=yaml", "format=env", "format=flagd"),
    f"{_PAGE}/live": ("after=0",),
    "/console/proposals": ("show=mine", "show=in-review", "show=all"),
    "/console/grants": ("key=zqx/", "key=shop/", "who=zqx", "role=admin", "environment=local"),
    "/console/grants/new": ("prefix=shop/", "group=shop"),
    "/console/access-check": (
        "action=write&environment=local&key=shop/flag",
        "action=write&environment=local&key=zqx/flag",
        "action=read&environment=local&key=shop/flag&actor=operator:a",
    ),
    "/console/people": ("q=a", "group=a"),
    "/console/sign-in": ("next=/console",),
}
# Forms that only show something: drafts, previews and exports.
FORM_PAGES = {
    f"POST {_PAGE}/{name}"
    for name in (
        *("segments-draft", "segments-preview", "segments-draft/{key}", "segments-preview/{key}"),
        *("flag-draft/{key}", "flag-preview/{key}", "flag-contexts/{key}", "flag-guard/{key}"),
        *("flag-plan-draft/{key}", "export", "flag-actions"),
    )
} | {"POST /console/proposals/{proposal}/try"}
_DEFINITION = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"$ref": "zqx/segment"}, "on", {"$ref": "common/testers"}, "on"]},
}
_FORM = {
    "view": "json",
    "mode": "json",
    "contexts": json.dumps(_CONTEXTS),
    "format": "json",
    "flag": "shop/flag",
    "key": "shop/new",
    "version": "1",
    "message": "own",
}
# The kind of entry that a path names; any other path names a flag.
_KINDS = {"lists": "list", "list": "list", "setting": "setting", "segment": "segment"}
_PLANNED = ("/plan", "flag-plan-control")
_PARAMETER = re.compile(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to a route or page, for a key below the prefix."""

    method: str
    template: str
    path: str
    query: str = ""
    body: Any = None
    form: Mapping[str, str] | None = None

    @property
    def url(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.template, self.query, str(self.body or ""))))


def name_of(route: Route | ConsolePage) -> str:
    """Return the method and the path of a route, without the patterns of parameters."""
    return f"{route.method} {plain(route.path)}"


def plain(path: str) -> str:
    return _PARAMETER.sub(lambda match: "{" + match[1] + "}", path)


def reads() -> list[Route]:
    """Return the routes that only read and need a scope."""
    return [
        route
        for route in ROUTES
        if route.scope is not None and (not route.writes or name_of(route) in REQUESTS)
    ]


def requests_of(route: Route, values: Mapping[str, str], prefix: str) -> Iterator[Request]:
    for query, body in REQUESTS[name_of(route)]:
        yield Request(
            method=route.method,
            template=name_of(route),
            path=_filled(route.path, values, prefix),
            query=query,
            body=body,
        )


def forms() -> list[ConsolePage]:
    """Return the pages that get a form and change nothing."""
    return [page for page in PAGES if name_of(page) in FORM_PAGES]


def pages() -> list[ConsolePage]:
    return [page for page in PAGES if page.method == "GET" and page.scope is not None]


def requests_of_page(
    page: ConsolePage, values: Mapping[str, str], prefix: str
) -> Iterator[Request]:
    for query in ("", *PAGE_QUERIES.get(plain(page.path), ())):
        yield Request(
            method=page.method,
            template=name_of(page),
            path=_filled(page.path, values, prefix),
            query=query,
        )


def requests_of_form(page: ConsolePage, values: Mapping[str, str], prefix: str) -> Request:
    definition = _SEGMENT["value"] if "/segments" in page.path else _DEFINITION
    action = {"action": "switch-off"} if page.path.endswith("flag-actions") else {}
    return Request(
        method=page.method,
        template=name_of(page),
        path=_filled(page.path, values, prefix),
        form=_FORM | action | {"json": json.dumps(definition)},
    )


def _filled(path: str, values: Mapping[str, str], prefix: str) -> str:
    key = prefix + _name_of_entry(path)
    return _PARAMETER.sub(lambda match: {"key": key, **values}[match[1]], path)


def _name_of_entry(path: str) -> str:
    if any(part in path for part in _PLANNED):
        return "planned"
    kinds = (
        kind for part in path.split("/") for name, kind in _KINDS.items() if part.startswith(name)
    )
    return next(kinds, "flag")
