"""The typed confirmation of a write: the name of the environment, where a mistake is costly."""

from app.console.forms import Form
from app.environments.models import Environment
from app.errors import Invalid, Violation
from app.settings import Tier

FIELD = "confirmation"


def needs_confirmation(environment: Environment) -> bool:
    """Return whether a person must type the name of the environment."""
    return environment.protected or environment.tier == Tier.PRODUCTION


def check_confirmation(form: Form, environment: Environment) -> None:
    """Raise Invalid unless the name was typed, where it is needed."""
    if needs_confirmation(environment):
        check_typed_name(form, environment)


def check_typed_name(form: Form, environment: Environment) -> None:
    """Raise Invalid unless the name was typed."""
    if form.get(FIELD, "").strip() != environment.name:
        rule = f"Type {environment.name}, exactly"
        raise Invalid("field_invalid", f"{rule}.", [Violation(FIELD, rule)])
