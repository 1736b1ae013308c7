"""An emergency in a form: a save without approval in a protected environment."""

from aiohttp import web

from app.access.guard import CALLER
from app.configuration.changes.authority import Authority
from app.configuration.changes.write_options import WriteOptions, check_publish
from app.console.forms import FORM


def read_authority(request: web.Request, message: str, *, dry_run: bool = False) -> Authority:
    """Return what the form of the request may do in a protected environment.

    Raises Forbidden without the scope publish, and Invalid for an emergency without a reason.
    """
    form = request.get(FORM)
    is_emergency = form is not None and form.get("emergency") == "true"
    if is_emergency:
        check_publish(request)
    options = WriteOptions(
        rights=request[CALLER].rights, dry_run=dry_run, emergency=is_emergency and not dry_run
    )
    return options.authority(message)
