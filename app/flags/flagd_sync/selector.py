"""The selector of flagd, which names the environment: `flagSetId=ENVIRONMENT`."""

from app.access.models import EVERY_ENVIRONMENT, Scope
from app.access.permissions import Rights
from app.access.refusals import environment_foreign
from app.errors import Malformed

# The name of the header, and of the metadata of gRPC in lower case.
FLAGD_SELECTOR = "Flagd-Selector"
_NAME = "flagSetId"


def selected_environment(selector: str, rights: Rights) -> str:
    """Return the environment of a selector; without one, the only one that the caller may read.

    Raises Malformed, and Forbidden if the caller may read nothing in the environment.
    """
    if not selector:
        return _only_environment(rights)
    name, separator, environment = selector.partition("=")
    if name.strip() != _NAME or not separator or not environment.strip():
        raise Malformed("selector_invalid", f"The selector must be {_NAME}=ENVIRONMENT.")
    environment = environment.strip()
    # An unknown environment gets the same refusal, so that no caller can guess names.
    if not rights.covers(Scope.READ, environment):
        raise environment_foreign()
    return environment


def _only_environment(rights: Rights) -> str:
    environments = rights.environments(Scope.READ)
    if len(environments) != 1 or EVERY_ENVIRONMENT in environments:
        raise Malformed(
            "selector_missing",
            f"The caller may read several environments: set the selector {_NAME}=ENVIRONMENT.",
        )
    return next(iter(environments))
