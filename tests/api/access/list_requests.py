"""Each request that writes or tries a change, with a list that an own key names by its digest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.configuration.transfer.documents import VERSION

ENVIRONMENT = "/v1/environments/staging"
KEY = "payments/vips"
_NEW = {"If-None-Match": "*"}
_LINE = "/v1/environments/{environment}"


@dataclass(frozen=True)
class ListRequest:
    """A request. `body` gets the value of a segment that names the list."""

    method: str
    path: str
    body: Callable[[Any], Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def entry(value: Any) -> dict[str, Any]:
    return {"kind": "segment", "value": value}


def document(value: Any, key: str = KEY) -> dict[str, Any]:
    """Return a document as an export has it."""
    return {"flagstone": VERSION, "entries": {key: entry(value)}}


def operation(value: Any) -> dict[str, Any]:
    return {"op": "put", "key": KEY, "version": 0, **entry(value)}


def operations(value: Any) -> dict[str, Any]:
    return {"operations": [operation(value)]}


def edit(value: Any) -> dict[str, Any]:
    return {"environment": "staging", **operations(value)}


def proposal(value: Any, **members: Any) -> dict[str, Any]:
    return {"title": "Test", **edit(value), **members}


# By the line of the route. An optional part after `#` names another way to use it.
REQUESTS = {
    f"PUT {_LINE}/configurations/{{key}}": ListRequest(
        "PUT", f"/configurations/{KEY}", entry, _NEW
    ),
    f"POST {_LINE}/changes": ListRequest("POST", "/changes", operations),
    f"POST {_LINE}/import": ListRequest("POST", "/import", document),
    f"POST {_LINE}/import#lenient": ListRequest("POST", "/import?lenient=true", document),
    f"POST {_LINE}/import#replace": ListRequest("POST", "/import?mode=replace", document),
    f"POST {_LINE}/import#flagd": ListRequest(
        "POST", "/import?format=flagd", lambda value: {"flags": {}, "$evaluators": {KEY: value}}
    ),
}
PROPOSAL_REQUESTS = {
    "POST /v1/proposals": ListRequest("POST", "/v1/proposals", proposal),
    "POST /v1/proposals#draft": ListRequest(
        "POST", "/v1/proposals", lambda value: proposal(value, draft=True)
    ),
    "PATCH /v1/proposals/{proposal}": ListRequest(
        "PATCH", "/v1/proposals/{open}", edit, {"If-Match": '"1"'}
    ),
    "PATCH /v1/proposals/{proposal}#draft": ListRequest(
        "PATCH", "/v1/proposals/{draft}", edit, {"If-Match": '"1"'}
    ),
}
_STORED = "It names a stored state: test_limited_lists.py sends it."
_UPLOAD = "The list of an upload has the values of its body."
_NONE = "It changes no entry."
# The other routes that write, with the reason why a caller cannot name a list by it.
WITHOUT_LISTS = {
    f"DELETE {_LINE}/configurations/{{key}}": "It deletes.",
    f"PATCH {_LINE}": "It changes the properties.",
    f"POST {_LINE}/changes/{{revision}}/revert": _STORED,
    f"POST {_LINE}/restore": _STORED,
    f"POST {_LINE}/promote": _STORED,
    f"PUT {_LINE}/lists/{{key}}": _UPLOAD,
    f"PATCH {_LINE}/lists/{{key}}": _UPLOAD,
    f"POST {_LINE}/flags/{{key}}/plan/{{action}}": "It changes a flag.",
    f"POST {_LINE}/flags/{{key}}/evaluate": "It evaluates stored entries.",
    f"POST {_LINE}/preview": "test_limited_lists.py sends it: it evaluates a digest.",
    **{
        f"POST /v1/proposals/{{proposal}}/{name}": "It names the lists of a stored proposal."
        for name in (
            *("submit", "approve", "reject", "comment", "withdraw", "schedule", "apply"),
            "evaluate",
        )
    },
    **dict.fromkeys(
        (
            *("POST /v1/environments", f"DELETE {_LINE}"),
            *("POST /v1/tokens", "DELETE /v1/tokens/{id}", "POST /v1/tokens/{id}/rotate"),
            *("POST /v1/people/{id}/suspend", "POST /v1/people/{id}/restore"),
            *("POST /v1/roles", "PUT /v1/roles/{name}", "DELETE /v1/roles/{name}"),
            *("POST /v1/grants", "DELETE /v1/grants/{id}"),
            *("POST /v1/projects", "PATCH /v1/projects/{name}", "DELETE /v1/projects/{name}"),
        ),
        _NONE,
    ),
}
