"""What `schemathesis.toml` cannot say of the requests that are generated."""

import os
from typing import Any

import schemathesis

# The first gives way to the second: OpenAPI has no words for two of which one may come, and nearly
# every request that is allowed both would end at that rule.
_EXCLUSIVE = (("If-Match", "If-None-Match"), ("against", "from"), ("at", "revision"))
# These are for tokens of one environment. The file could give them another, but gives it to all.
_OF_ONE_ENVIRONMENT = "/ofrep/v1/evaluate/"


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Leave out what excludes something else; show the token that fits; make and delete no
    environments, which other requests need; and end no token that the suite lives by.
    """
    del context, kwargs
    for given in (case.headers, case.query):
        for first, second in _EXCLUSIVE:
            if first in given and second in given:
                del given[first]
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
