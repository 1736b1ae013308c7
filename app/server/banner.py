"""The text at the end of a start, for the person who started the service in a terminal."""

import shlex
import sys
from contextlib import suppress

from app import VERSION
from app.access.local_credentials import ADMIN_TOKEN_FILE
from app.program import program_path
from app.server.probe import local_address
from app.settings import HttpSettings, LogFormat, Settings, Tier


def has_banner(settings: Settings) -> bool:
    """Return whether a person reads standard error, and not a machine that reads JSON lines."""
    return settings.log.format is LogFormat.CONSOLE or sys.stderr.isatty()


def print_banner(settings: Settings, link: str | None = None) -> None:
    """Print the banner to standard error, if a person reads it and the pipe is not closed."""
    if has_banner(settings):
        with suppress(OSError):
            sys.stderr.write(banner(settings, link))
            sys.stderr.flush()


def banner(settings: Settings, link: str | None = None) -> str:
    """Return the URLs, how to get a token, and a next command that works as printed.

    `link` signs in to the console once.
    """
    url = local_url(settings.http)
    if settings.relay.upstream is not None:
        return _relay_banner(url, settings.relay.upstream)
    console = f"{url}/console"
    if link is not None:
        console = f"""{link}
                     The link works once, within 10 minutes. For another one:
                     {program_path()} console link"""
    if settings.tier is Tier.LOCAL:
        token_file = settings.data_dir / ADMIN_TOKEN_FILE
        token = f"Admin token        {token_file}"
        what = "List the flags and settings of the environment local:"
        bearer = f'"Authorization: Bearer $(cat {shlex.quote(str(token_file))})"'
        command = f"curl -H {bearer} {url}/v1/environments/local/configurations"
    else:
        token = "Admin token        created by the command below; printed once"  # noqa: S105 - no token
        what = "Create an admin token, valid for 90 days, with the settings of this service:"
        command = f"{program_path()} token create first --admin"
    return f"""
  Flagstone {VERSION} is ready: {url}

  Console            {console}
  API documentation  {url}/docs
  Health             {url}/health/ready
  {token}

  {what}

  {command}

  Ctrl-C stops Flagstone.

"""


def _relay_banner(url: str, upstream: str) -> str:
    return f"""
  Flagstone {VERSION} relays {upstream}: {url}

  Status             {url}/console
  API documentation  {url}/docs
  Health             {url}/health/ready

  It accepts the tokens of its upstream. Ctrl-C stops it.

"""


def local_url(settings: HttpSettings) -> str:
    """Return the URL of this service on this machine."""
    return f"http://{local_address(settings.hosts[0])}:{settings.port}"
