"""The templates: they are compiled in a thread, and call the functions of this module."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType

import aiohttp_jinja2
import jinja2
from aiohttp import web
from jinja2.bccache import Bucket

from app import VERSION
from app.console.static_files import STATIC
from app.environments.protection import protection_words
from app.http.keys import SETTINGS
from app.names import counted
from app.program import PROGRAM, program_path
from app.settings import Tier
from app.threads import in_thread

TEMPLATES = Path(__file__).parent / "templates"
_EARLIER = (
    ("5 minutes ago", timedelta(minutes=5)),
    ("10 minutes ago", timedelta(minutes=10)),
    ("30 minutes ago", timedelta(minutes=30)),
    ("An hour ago", timedelta(hours=1)),
    ("Yesterday, at this time", timedelta(days=1)),
    ("A week ago", timedelta(days=7)),
    ("30 days ago", timedelta(days=30)),
)
_PIECE = re.compile(r"[^_./-]+[_./-]*|[_./-]+")


class CompiledTemplates(jinja2.BytecodeCache):
    """The code of compiled templates, shared by all applications of the process."""

    def __init__(self) -> None:
        self._codes = dict[tuple[str, str], CodeType]()

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._codes[bucket.key, bucket.checksum] = bucket.code


class TemplateCompiler:
    """Compiles all templates in a thread before the first page: that takes most of a second."""

    def __init__(self, environment: jinja2.Environment) -> None:
        self._environment = environment
        self._lock = asyncio.Lock()
        self._is_done = False

    async def ready(self) -> None:
        """Wait until all templates are compiled. On the event loop, they would hold it."""
        if self._is_done:
            return
        async with self._lock:
            if not self._is_done:
                await in_thread("templates", self._compile)
                self._is_done = True

    def _compile(self) -> None:
        for name in self._environment.list_templates():
            self._environment.get_template(name)


_COMPILED = CompiledTemplates()
COMPILER: web.AppKey[TemplateCompiler] = web.AppKey("template_compiler", TemplateCompiler)


def add_templates(app: web.Application) -> None:
    """Set up the templates, with the functions that each of them can call."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        bytecode_cache=_COMPILED,
        extensions=["jinja2.ext.do"],
    )
    environment.globals.update(
        static=app[STATIC].url,
        version=VERSION,
        # Only there may a page, which strangers see too, name a folder of the host.
        program=program_path() if app[SETTINGS].tier is Tier.LOCAL else PROGRAM,
        counted=counted,
        earlier_moments=earlier_moments,
    )
    environment.filters["exact"] = exact_time
    environment.filters["field_time"] = field_time
    environment.filters["protection"] = protection_words
    environment.filters["pieces"] = pieces
    app[COMPILER] = TemplateCompiler(environment)


def earlier_moments() -> list[tuple[str, str]]:
    """Return moments to look back to, with their names, as parameters `at`."""
    now = datetime.now(UTC)
    return [(name, exact_time(now - ago)) for name, ago in _EARLIER]


def exact_time(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC, for `<time datetime>` and without JavaScript."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def field_time(text: str) -> str:
    """Return an RFC 3339 time in UTC as a date field shows it, empty for another text."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S").removesuffix(":00")


def pieces(key: str) -> list[str]:
    """Return the parts of a key, each with the separators after it. Between them it may break."""
    return _PIECE.findall(key)
