"""Traces and metrics for an OpenTelemetry collector, over OTLP.

This package alone imports OpenTelemetry, and it is imported only when OTEL_EXPORTER_OTLP_ENDPOINT
is set. OpenTelemetry's own instrumentations of aiohttp and asyncpg are not used: they neither see
the fast path nor know the names of statements, and record SQL text and paths with keys.
"""
