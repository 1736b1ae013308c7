"""What every verb of `backup` stands in: settings, a limit in time, progress, and whose backups."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.progress import DownloadColumn, Progress, TimeElapsedColumn

from app import log
from app.access.local_credentials import token_key
from app.cli.terminal import progress_display
from app.crypto.signing import Signer
from app.operations.backups.errors import BackupError
from app.scripts import foreseen_errors
from app.settings import Settings, load

PublicKey = Annotated[
    str | None,
    typer.Option(help="Who must have signed it; this installation by default."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]

# Above what pg_dump may take by itself.
_WHOLE_SECONDS = 4 * 3600


@contextmanager
def prepared() -> Iterator[Settings]:
    with foreseen_errors():
        settings = load()
        log.configure(settings.log.level, settings.log.format)
        # What has no limit of its own ends by this one, such as a statement of a frozen server.
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(_WHOLE_SECONDS)
        try:
            yield settings
        finally:
            signal.alarm(0)


def _too_long(*_: object) -> NoReturn:
    raise BackupError(f"not done within {_WHOLE_SECONDS / 3600:g} hours")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (*Progress.get_default_columns(), DownloadColumn(), TimeElapsedColumn())
    with progress_display(*columns) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=max(done, total))


def own_key(settings: Settings) -> str:
    return Signer(token_key(settings)).public_key
