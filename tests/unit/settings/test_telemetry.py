"""When telemetry is on, and the warning when it is not although it is wanted."""

import os
import sys

import pytest

from app.settings import load
from app.settings.telemetry import export_variables

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


def test_telemetry_without_an_endpoint_is_off() -> None:
    assert not load({}).telemetry.is_on


def test_telemetry_with_an_endpoint_is_on() -> None:
    settings = load(ENDPOINT)

    assert settings.telemetry.is_on
    assert not [warning for warning in settings.warnings if "OTEL" in warning]


def test_telemetry_without_its_extra_is_off_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)

    settings = load(ENDPOINT)

    assert not settings.telemetry.is_on
    (warning,) = [warning for warning in settings.warnings if "OTEL" in warning]
    assert "extra otel is not installed" in warning


def test_telemetry_over_another_protocol_is_off_with_one_warning() -> None:
    settings = load({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})

    assert not settings.telemetry.is_on
    (warning,) = [warning for warning in settings.warnings if "OTEL" in warning]
    assert "must be http/protobuf" in warning


def test_disabled_sdk_turns_telemetry_off_without_a_warning() -> None:
    settings = load({**ENDPOINT, "OTEL_SDK_DISABLED": "true"})

    assert not settings.telemetry.is_on
    assert not [warning for warning in settings.warnings if "OTEL" in warning]


def test_headers_are_a_secret() -> None:
    settings = load({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2"})

    assert "hunter2" not in repr(settings)


def test_variables_of_the_file_reach_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)

    export_variables(
        {
            "OTEL_SERVICE_NAME": "flags",
            "OTEL_TRACES_SAMPLER": "always_off",
            "OTEL_EXPORTER_OTLP_HEADERS": "sealed",
            "TIER": "local",
        }
    )

    assert os.environ["OTEL_SERVICE_NAME"] == "flags"
    assert os.environ["OTEL_TRACES_SAMPLER"] == "always_on"
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in os.environ
    del os.environ["OTEL_SERVICE_NAME"]
