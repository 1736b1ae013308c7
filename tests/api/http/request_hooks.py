"""Changes to generated requests that `schemathesis.toml` cannot express."""

import itertools
import os
import re
from typing import Any

import schemathesis

# Parameters that exclude each other, which OpenAPI cannot say: the first of a pair is removed.
_EXCLUSIVE = (("If-Match", "If-None-Match"), ("against", "from"), ("at", "revision"))
# These paths need a token of one environment; the file sets one token for all.
_OF_ONE_ENVIRONMENT = "/ofrep/v1/evaluate/"


_IDEMPOTENCY_KEY = re.compile("[!-~]{1,190}")
_NUMBERS = itertools.count()


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Remove exclusive parameters, choose the token, and protect data that other requests need."""
    del context, kwargs
    for given in (case.headers, case.query):
        for first, second in _EXCLUSIVE:
            if first in given and second in given:
                del given[first]
    _avoid_conflicts(case)
    if isinstance(case.body, dict) and "expires_at" in case.body:
        case.body.pop("expires_days", None)
    places = {"local": "staging", "staging": "local"}
    if case.path.endswith("/promote") and isinstance(case.body, dict):
        # A promotion from an environment to itself is refused.
        place = str(case.path_parameters.get("environment"))
        if place in places:
            case.body["from"] = places[place]
    moves_environment = (case.method, case.path) in {
        ("POST", "/v1/environments"),
        ("DELETE", "/v1/environments/{environment}"),
    }
    if moves_environment and case.query.get("dry_run") in (None, False, "false"):
        case.query["dry_run"] = "true"
    ends_token = case.path.startswith("/v1/tokens/{id}") and case.method in {"POST", "DELETE"}
    if ends_token and case.path_parameters.get("id") in os.environ["KEPT_TOKENS"].split():
        case.path_parameters["id"] = "0000000000000"
    if case.path.startswith(_OF_ONE_ENVIRONMENT):
        case.headers["Authorization"] = f"Bearer {os.environ['EVALUATE_TOKEN']}"


def _avoid_conflicts(case: schemathesis.Case[Any]) -> None:
    """Use new idempotency keys and new configuration keys."""
    if _IDEMPOTENCY_KEY.fullmatch(str(case.headers.get("Idempotency-Key", ""))):
        # The generator repeats short keys for other requests, which get 409.
        case.headers["Idempotency-Key"] += str(next(_NUMBERS))
    creates = case.method == "PUT" and case.headers.get("If-None-Match") == "*"
    if creates and str(case.path_parameters.get("key")).startswith("generated"):
        # Earlier requests have created most of the keys that are known.
        case.path_parameters["key"] = f"generated-{next(_NUMBERS)}"
