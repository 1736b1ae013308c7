"""Reading of posted forms, and the errors of the API beside the fields of a form."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict

from app.access.sessions.guard import SHOWN_REFUSAL
from app.database.client.pool import REPEAT_ADVICE
from app.errors import AppError, Forbidden, Unauthenticated, Unsupported, malformed
from app.http import problems
from app.http.bodies import receive_body
from app.http.decoder import BODY_BYTES_MAX
from app.threads import in_thread

CONTENT_TYPE = "application/x-www-form-urlencoded"
FIELDS_MAX = 20_000
# Larger forms are parsed in a thread.
_QUICK_BYTES = 16 * 1024
_OPERATION = re.compile(r"operations\[[0-9]+\]\.")

Form = MultiDict[str]
# The form that was read last, for what each form may have.
FORM: web.RequestKey[Form] = web.RequestKey("form", MultiDict)


async def read_form(request: web.Request, bytes_max: int = BODY_BYTES_MAX) -> Form:
    """Return the fields of a posted form, in their order.

    Raises Unsupported, Malformed, and as `receive_body`.
    """
    if request.content_type != CONTENT_TYPE:
        raise Unsupported("content_type_unsupported", f"The body must be {CONTENT_TYPE}.")
    raw = await receive_body(request, bytes_max)
    is_quick = len(raw) <= _QUICK_BYTES
    form = _parse(raw) if is_quick else await in_thread("form", lambda: _parse(raw))
    request[FORM] = form
    return form


def _parse(raw: bytes) -> Form:
    try:
        fields = parse_qsl(
            raw.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"
        )
    except ValueError:  # also UnicodeDecodeError
        rule = f"must be a form in UTF-8 with at most {FIELDS_MAX} fields"
        raise malformed("body", rule) from None
    # Browsers send the line breaks of a text field as CR LF.
    return Form((name, value.replace("\r\n", "\n")) for name, value in fields)


def message_of(error: AppError) -> str:
    """Return the sentence of an error, with advice for a person instead of for a program."""
    return error.message.replace(REPEAT_ADVICE, "Open the page again before you repeat it.")


def shown_status(request: web.Request, error: AppError | None) -> int:
    """Return the status of a page that shows an error instead of raising it, 200 without one.

    The guard logs a refusal that is shown. So no other module of the console maps errors to status
    codes, except for errors that were raised and for sign-ins, which are logged already.
    """
    if error is None:
        return 200
    if isinstance(error, Unauthenticated | Forbidden):
        request[SHOWN_REFUSAL] = error
    return problems.STATUS[type(error)]


class FormErrors:
    """The errors of a form, by field. A template shows each beside its field, and all on top."""

    def __init__(self, message: str = "", by_field: Mapping[str, Sequence[str]] = {}) -> None:
        self.message = message
        self.by_field = by_field
        self.may_be_saved = False

    @classmethod
    def of(cls, error: AppError) -> "FormErrors":
        """Return the violations of an error, without the position of their operation."""
        by_field: dict[str, list[str]] = defaultdict(list)
        for violation in error.violations:
            by_field[_OPERATION.sub("", violation.field)].append(violation.rule)
        errors = cls(_OPERATION.sub("", message_of(error)), by_field)
        errors.may_be_saved = REPEAT_ADVICE in error.message
        return errors

    def __bool__(self) -> bool:
        return bool(self.message or self.by_field)

    def under(self, field: str) -> list[str]:
        """Return the rules broken by a field or by a part of it, such as `value.variants`."""
        return [
            f"{name[len(field) :].removeprefix('.')} {rule}".strip()
            for name, rules in self.by_field.items()
            if name == field or name.startswith((f"{field}.", f"{field}["))
            for rule in rules
        ]


@dataclass(frozen=True, kw_only=True)
class RefusedAction:
    """An action in a form beside the main one that was refused, with what was posted."""

    name: str
    errors: FormErrors
    form: Form
