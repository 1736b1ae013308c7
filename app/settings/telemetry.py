"""Whether telemetry is on. Without the extra, or with another protocol, a warning says why not."""

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from app.settings.variables import VARIABLES

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_ONLY_PROTOCOL = "http/protobuf"
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def export_variables(of_file: Mapping[str, str]) -> None:
    """Set the OTEL_ variables of `.env` in the process, where OpenTelemetry reads them."""
    ours = {variable.name for variable in VARIABLES}
    for name in of_file.keys() - ours:
        if name.startswith("OTEL_"):
            os.environ.setdefault(name, of_file[name])


def is_telemetry_on(values: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_wanted = values[_ENDPOINT] is not None and not is_disabled
    return is_wanted and not any(telemetry_warnings(values, environ))


def telemetry_warnings(values: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the reasons why nothing is sent although there is an endpoint."""
    if values[_ENDPOINT] is None:
        return
    if not _is_installed():
        yield (
            f"{_ENDPOINT} is set, but the extra otel is not installed: no traces and no metrics "
            "are sent. Install it with pip install '.[otel]'"
        )
    if environ.get(_PROTOCOL, _ONLY_PROTOCOL) != _ONLY_PROTOCOL:
        yield f"{_PROTOCOL} must be {_ONLY_PROTOCOL}: no traces and no metrics are sent"


def _is_installed() -> bool:
    try:
        return find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False
