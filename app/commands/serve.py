"""`serve`: run the service until a signal."""

import asyncio
import sys
from collections.abc import Callable

import typer

from app import log
from app.access.local import ADMIN_TOKEN_FILE
from app.http.serving import serve as run
from app.server import create_app
from app.settings import Settings, Tier, load


def serve() -> None:
    """Run the service; Ctrl-C or SIGTERM stops it in order."""
    settings = load()
    log.configure(settings.log)
    for warning in settings.warnings:
        log.logger(__name__).warning("settings", problem=warning)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async def announce() -> None:
        if settings.tier is Tier.LOCAL:
            typer.echo(_banner(settings), err=True)

    await run(create_app(settings), announce)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not made for Windows

    return uvloop.new_event_loop


def _banner(settings: Settings) -> str:
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    url = f"http://{host}:{settings.http.port}"
    token_file = settings.data_dir / ADMIN_TOKEN_FILE
    return f"""
  Flagstone is ready.

  API      {url}/v1/environments
  Health   {url}/health/ready
  Token    {token_file}

  curl -H "Authorization: Bearer $(cat '{token_file}')" {url}/v1/environments/local/configurations
"""
