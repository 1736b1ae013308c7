"""The form of an import: a file or a text, and how to import it."""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TypeVar

from aiohttp import hdrs, web

from app.configuration.transfer.documents import Format, ImportOptions, Mode
from app.configuration.transfer.import_requests import IMPORT_BYTES_MAX
from app.console.confirmation import FIELD
from app.console.forms import Form, read_form
from app.console.transfer.formats import find_format
from app.console.transfer.multipart import CONTENT_TYPE, read_multipart
from app.errors import invalid
from app.http.bodies import receive_body
from app.threads import in_thread

# The file, and the other fields.
FORM_BYTES_MAX = IMPORT_BYTES_MAX + 64 * 1024
# A larger file is not shown as text: it stays in the file field.
SHOWN_BYTES_MAX = 512 * 1024
_NAME_MAX = 80
_CHECKED = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
Option = TypeVar("Option", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class ImportForm:
    """What was posted. `checked` is the revision and the digest of the import that was shown."""

    raw: bytes = b""
    filename: str = ""
    format: Format | None = None
    mode: Mode = Mode.MERGE
    lenient: bool = False
    secrets: str = ""
    message: str = ""
    is_apply: bool = False
    checked: str = ""
    confirmation: str = ""
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.raw).digest())

    @property
    def text(self) -> str:
        """The content for the text field; empty if it is too large or is not text."""
        if len(self.raw) > SHOWN_BYTES_MAX:
            return ""
        try:
            return self.raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            return ""

    @property
    def found_format(self) -> Format:
        return self.format or find_format(self.filename, self.raw)

    def options(self, *, dry_run: bool) -> ImportOptions:
        return ImportOptions(
            format=self.found_format,
            mode=self.mode,
            message=self.message or f"Import {self.filename or 'a text'}",
            secrets=self.secrets.replace(",", " ").split(),
            lenient=self.lenient,
            dry_run=dry_run,
        )

    def mark(self, revision: int) -> str:
        """Return the value of `checked` for this import at this revision."""
        how = f"{self.found_format} {self.mode} {self.lenient} {self.secrets}\n"
        return f"{revision}:{hashlib.sha256(how.encode() + self.digest).hexdigest()}"

    def checked_revision(self) -> int | None:
        """Return the revision at which this very import was shown, or None."""
        match = _CHECKED.fullmatch(self.checked)
        if match is None or self.mark(int(match[1])) != self.checked:
            return None
        return int(match[1])


async def read_import_form(request: web.Request) -> ImportForm:
    """Read the form, with or without a file. Raises Malformed, Invalid, and as `receive_body`.

    A thread decodes it and computes the digest: that takes up to 300 ms for 16 MiB.
    """
    if request.content_type != CONTENT_TYPE:
        fields = await read_form(request, FORM_BYTES_MAX)
        return await in_thread("form", lambda: _form(fields, b"", ""))
    raw = await receive_body(request, FORM_BYTES_MAX)
    header = request.headers.get(hdrs.CONTENT_TYPE, "")
    return await in_thread("form", lambda: _multipart_form(raw, header))


def _multipart_form(raw: bytes, content_type: str) -> ImportForm:
    parts = read_multipart(raw, content_type)
    fields = Form((p.name, _text(p.content)) for p in parts if p.filename is None)
    file = next((part for part in parts if part.filename), None)
    if file is None:
        return _form(fields, b"", "")
    return _form(fields, file.content, shown_name(file.filename or ""))


def _form(fields: Form, file: bytes, filename: str) -> ImportForm:
    return ImportForm(
        raw=file or fields.get("text", "").encode(errors="surrogatepass"),
        # A page without JavaScript shows the content of a file again as text, with its name.
        filename=filename if file else shown_name(fields.get("filename", "")),
        format=_choice(fields, "format", Format),
        mode=_choice(fields, "mode", Mode) or Mode.MERGE,
        lenient="lenient" in fields,
        secrets=fields.get("secrets", ""),
        message=fields.get("message", "").strip(),
        is_apply=fields.get("action") == "apply",
        checked=fields.get("checked", ""),
        confirmation=fields.get(FIELD, ""),
    )


def shown_name(filename: str) -> str:
    """Return the last part of a file's name for a page: printable, and not too long."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    printable = "".join(char if char.isprintable() else "?" for char in name)
    return printable if len(printable) <= _NAME_MAX else f"…{printable[1 - _NAME_MAX :]}"


def _choice(fields: Form, name: str, options: type[Option]) -> Option | None:
    text = fields.get(name, "")
    if text and text not in set(options):
        raise invalid(name, f"must be {', '.join(options)}")
    return options(text) if text else None


def _text(content: bytes) -> str:
    return content.decode(errors="replace").replace("\r\n", "\n")
