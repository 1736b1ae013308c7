"""The schema and meaning of each parameter and header, the same in every operation.

`parameters.json` has them. Tests compare its patterns and names with those that the service checks.
"""

from pathlib import Path
from typing import Any

import msgspec


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: str
    schema: dict[str, Any]


class _Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: dict[str, Parameter]
    query: dict[str, Parameter]
    request_headers: dict[str, Parameter]
    response_headers: dict[str, Parameter]


_FILE = Path(__file__).with_name("parameters.json")
_parameters = msgspec.json.decode(_FILE.read_bytes(), type=_Parameters)

PATH = _parameters.path
QUERY = _parameters.query
REQUEST_HEADERS = _parameters.request_headers
RESPONSE_HEADERS = _parameters.response_headers
