"""The static files of the console, in memory and compressed.

One hash of all files is in each URL, so that an answer never changes. The modules of `scripts/` are
sent as one, `console.js`: each is a block, so that its names are its own. They import nothing.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from app.http.keys import OWN_HEADERS, SETTINGS

FOLDER = Path(__file__).parent / "static"
SCRIPTS = Path(__file__).parent / "scripts"
BUNDLE = "console.js"
STATIC_PATH = "/console/static/{version}/{name:.+}"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    content_type: str
    plain: bytes
    zipped: bytes


class StaticFiles:
    """The files by name, and the hash of all of them. `root` is the path prefix of a proxy."""

    def __init__(self, folder: Path = FOLDER, scripts: Path = SCRIPTS, *, root: str = "") -> None:
        self.root = root
        contents = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }
        contents[BUNDLE] = b"".join(
            b"{\n" + path.read_bytes() + b"}\n" for path in sorted(scripts.glob("*.js"))
        )
        self.files = {
            name: StaticFile(_TYPES[Path(name).suffix], plain, gzip.compress(plain, mtime=0))
            for name, plain in contents.items()
        }
        digest = hashlib.sha256()
        for name, plain in contents.items():
            digest.update(f"{name}\0{len(plain)}\0".encode() + plain)
        self.version = digest.hexdigest()[:16]

    def url(self, name: str) -> str:
        """Return the URL of a file. Raises KeyError for an unknown name."""
        if name not in self.files:
            raise KeyError(f"{FOLDER.name}/{name} does not exist")
        return f"{self.root}/console/static/{self.version}/{name}"


STATIC: web.AppKey[StaticFiles] = web.AppKey("static_files", StaticFiles)


async def get_static_file(request: web.Request) -> web.Response:
    """Get a style sheet, a script or an image of the console."""
    static = request.app[STATIC]
    file = static.files.get(request.match_info["name"])
    if file is None or request.match_info["version"] != static.version:
        raise web.HTTPNotFound
    request[OWN_HEADERS] = {"Cache-Control": _IMMUTABLE}
    headers = {"Vary": "Accept-Encoding"}
    body = file.plain
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        headers["Content-Encoding"] = "gzip"
        body = file.zipped
    return web.Response(body=body, content_type=file.content_type, charset="utf-8", headers=headers)


def add_static_files(app: web.Application) -> None:
    """Read the files, and register their URL. It needs no sign-in."""
    app[STATIC] = StaticFiles(root=urlsplit(app[SETTINGS].http.public_url or "").path)
    app.router.add_get(STATIC_PATH, get_static_file)
