"""Every page of the console, from the route table: a new page is tested without a new test.

A new parameter of a path needs a value here. A route that gives no page must be in NOT_PAGES.
"""

import re

from app.console.routes import PAGES
from tests.console import sample

# Fragments, streams, downloads and redirects.
NOT_PAGES = {
    "/console",
    "/console/environments/{environment}",
    "/console/environments/{environment}/live",
    "/console/environments/{environment}/palette",
    r"/console/{path:[\s\S]*}",
}
# Pages that a person sees before the sign-in.
PUBLIC = ("/console/sign-in", "/console/signed-out")
_VALUES = {"environment": sample.ENVIRONMENT, "revision": "2"}
_KEYS = {"settings": sample.SETTING, "segments": sample.SEGMENT}
# Further states of a page, by the end of its path: each is tested too.
_QUERIES = {
    "/flags": ["revision=3"],
    f"/flags/{sample.FLAG}": ["revision=3", "view=json"],
}
_PARAMETER = re.compile(r"{(\w+)(?::(?:[^{}]|{[^{}]*})*)?}")


def page_paths() -> list[str]:
    """Return the URL of each page and of its further states, with the keys of the sample."""
    return [
        path + query
        for template in sorted({page.path for page in PAGES if page.method == "GET"} - NOT_PAGES)
        for path in [_filled(template)]
        for query in ["", *(f"?{query}" for query in _QUERIES.get(_end(path), []))]
    ]


def _filled(template: str) -> str:
    return _PARAMETER.sub(lambda match: _value(template, match[1]), template)


def _value(template: str, name: str) -> str:
    if name != "key":
        return _VALUES[name]
    group = template.split("/")[4]
    return next((key for start, key in _KEYS.items() if group.startswith(start[:-1])), sample.FLAG)


def _end(path: str) -> str:
    return path.removeprefix(f"/console/environments/{sample.ENVIRONMENT}")
