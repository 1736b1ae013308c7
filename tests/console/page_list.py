"""Every page of the console, from the route table: a new page is tested without a new test.

A new parameter of a path needs a value here. A route that gives no page must be in NOT_PAGES.
"""

import re
from dataclasses import dataclass

from app.console.routes import PAGES
from tests.console import sample

# Fragments, streams, downloads and redirects.
NOT_PAGES = {
    "/console",
    "/console/database-away",
    "/console/environments/{environment}",
    "/console/environments/{environment}/changes/{revision:[0-9]{1,18}}/summary",
    "/console/environments/{environment}/export",
    r"/console/environments/{environment}/list-export/{key:[\s\S]+}",
    "/console/environments/{environment}/live",
    "/console/environments/{environment}/new-flag-key",
    "/console/environments/{environment}/palette",
    "/console/proposals/waiting",
    # test_proposals.py opens them, with a proposal of its own.
    "/console/proposals/{proposal:[0-9]{1,18}}",
    "/console/proposals/{proposal:[0-9]{1,18}}/edit",
    # test_access.py opens it, with a token of its own.
    "/console/tokens/{id}",
    # test_people.py opens them, with a sample of its own.
    "/console/people/{id}",
    "/console/grants/{id}",
    "/console/projects/{name}",
    "/console/roles/{name}",
    r"/console/environments/{environment}/flag-first-evaluation/{key:[\s\S]+}",
    # tests/api/access/oidc opens them, with a provider.
    "/console/sign-in/oidc",
    "/console/sign-in/oidc/callback",
    r"/console/{path:[\s\S]*}",
}
# Pages that a person sees before the sign-in.
PUBLIC = ("/console/sign-in", "/console/signed-out")
# Further states of the pages, by the end of their path.
_QUERIES = {
    "/flags": ["revision=3", "q=none", "state=rules"],
    "/flags/{key}": ["revision=3", "view=json", "view=plan"],
    "/console/proposals": ["show=mine", "show=in-review", "show=all"],
    "/changes": ["revision=2", "key=none"],
    "/settings": ["prefix=checkout/", "q=pay", "q=none", "revision=3"],
    "/settings-new": ["kind=secret"],
    "/settings/{key}": ["as=json", "revision=3"],
    "/settings-copy/{key}": ["to=staging"],
    "/segments/{key}": ["view=json", "revision=3"],
    "/console/access-check": ["action=write&environment=local&key=none"],
    "/compare": ["against=staging", "from=3"],
}
# Pages that are nothing without a query.
_NEEDED = {
    "/flag-actions": f"action=switch-off&flag={sample.FLAG}",
    "/flag-plan-control/{key}": "action=pause",
    "/flag-copy/{key}": f"source={sample.ENVIRONMENT}",
}
_PARAMETER = re.compile(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}")


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The entries whose pages are opened."""

    environment: str = sample.ENVIRONMENT
    flag: str = sample.FLAG
    planned: str = sample.PLANNED
    setting: str = sample.SETTING
    segment: str = sample.SEGMENT
    revision: str = "2"

    def value(self, template: str, name: str) -> str:
        """Return the value of a parameter of this path."""
        if name != "key":
            return str(getattr(self, name))
        group = template.split("/")[4]
        if group.startswith("flag-plan"):
            return self.planned
        for start in ("setting", "segment"):
            if group.startswith(start):
                return str(getattr(self, start))
        return self.flag


def page_paths(entries: Entries | None = None) -> list[str]:
    """Return the URL of each page and of its further states, with these entries."""
    shown = entries or Entries()
    templates = sorted({page.path for page in PAGES if page.method == "GET"} - NOT_PAGES)
    return [
        _filled(template, shown) + query
        for template in templates
        for query in _queries(_end(template))
    ]


def _queries(end: str) -> list[str]:
    first = f"?{_NEEDED[end]}" if end in _NEEDED else ""
    return [first, *(f"?{query}" for query in _QUERIES.get(end, []))]


def _filled(template: str, entries: Entries) -> str:
    return _PARAMETER.sub(lambda match: entries.value(template, match[1]), template)


def _end(template: str) -> str:
    plain = _PARAMETER.sub(lambda match: "{" + match[1] + "}", template)
    return plain.removeprefix("/console/environments/{environment}")
