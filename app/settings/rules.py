"""Rules that concern several variables, most of them by tier."""

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from app.crypto.password import broken_rules as broken_password_rules
from app.settings.parsers import is_loopback
from app.settings.target import Target, TlsMode
from app.settings.trusted_headers import trusted_header_rules, trusted_header_warnings
from app.settings.variable import GrpcAccess, Pooler, Tier

STRICT_TIERS = {Tier.STAGING, Tier.PRODUCTION}
NOT_ABOVE = (
    ("DATABASE_POOL_MIN", "DATABASE_POOL_MAX"),
    ("DATABASE_LOCK_TIMEOUT", "DATABASE_COMMAND_TIMEOUT"),
    ("DATABASE_HOST_TIMEOUT", "DATABASE_CONNECT_TIMEOUT"),
)
# Cancelling a statement may take as long as its timeout.
_WAITS = ("REQUEST_TIMEOUT", "DATABASE_ACQUIRE_TIMEOUT", "DATABASE_COMMAND_TIMEOUT")
_READ_FILES = (
    "DATABASE_TLS_CA",
    "DATABASE_TLS_CERTIFICATE",
    "DATABASE_TLS_KEY",
    "BACKUP_VERIFY_IDENTITY",
    "RELAY_CA",
)
DATABASE_URLS = (
    "DATABASE_URL",
    "DATABASE_MIGRATOR_URL",
    "DATABASE_ADMIN_URL",
    "DATABASE_BACKUP_URL",
)


def broken_rules(
    tier: Tier, values: Mapping[str, Any], not_in_clear: set[str]
) -> Iterator[tuple[str, str]]:
    """Yield (variable, rule) for each combination that is not allowed."""
    for lower, upper in NOT_ABOVE:
        if None not in (values[lower], values[upper]) and values[lower] > values[upper]:
            yield lower, f"must not be above {upper}"
    if bool(values["DATABASE_TLS_CERTIFICATE"]) != bool(values["DATABASE_TLS_KEY"]):
        yield "DATABASE_TLS_KEY", "must be set together with DATABASE_TLS_CERTIFICATE"
    for name in ("DATABASE_MIGRATOR_URL", "DATABASE_BACKUP_URL"):
        if values[name] is not None and values["DATABASE_URL"] is None:
            yield name, "must not be set without DATABASE_URL"
    pooled = values["DATABASE_POOLER"] is Pooler.TRANSACTION and values["MIGRATE_ON_START"]
    if pooled and values["DATABASE_MIGRATOR_URL"] is None:
        # The migration lock needs a session, which such a pooler does not provide.
        yield "DATABASE_MIGRATOR_URL", "must bypass the pooler when DATABASE_POOLER is set"
    waits = [values[name] for name in _WAITS]
    if None not in waits and waits[0] <= waits[1] + 2 * waits[2]:
        yield _WAITS[0], f"must be above {_WAITS[1]} plus twice {_WAITS[2]}"
    if tier is not Tier.LOCAL:
        yield from _backup_rules(tier, values)
    yield from _file_rules(values)
    yield from _grpc_rules(values)
    yield from _key_rules(values)
    yield from _oidc_rules(values)
    yield from _tls_rules(tier, values)
    yield from _relay_rules(tier, values, not_in_clear)
    yield from trusted_header_rules(values)
    if tier in STRICT_TIERS and values["RELAY_UPSTREAM"] is None:
        yield from _strict_rules(tier, values, not_in_clear)


def broken_by_libpq_variables(
    tier: Tier, values: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield (variable, rule) for each URL whose password the drivers would take from PGPASSWORD.

    No other rule checks the source or strength of that password.
    """
    if tier not in STRICT_TIERS or not environ.get("PGPASSWORD"):
        return
    for name in DATABASE_URLS:
        target = values[name]
        if target is not None and not target.is_socket and target.password is None:
            yield name, f"must have its own password in {tier}: PGPASSWORD would be used instead"


def warnings(tier: Tier, values: Mapping[str, Any], not_in_clear: set[str]) -> Iterator[str]:
    """Yield a warning for each setting that is risky, or that staging refuses."""
    yield from trusted_header_warnings(values)
    if tier is Tier.LOCAL:
        return
    for name in DATABASE_URLS:
        target = values[name]
        if target is None or target.is_socket:
            continue
        if target.password and name not in not_in_clear:
            if values["ALLOW_PLAINTEXT_DSN"]:
                yield f"{name} holds a password in clear, as ALLOW_PLAINTEXT_DSN allows"
            else:
                yield f"{name} holds a password in clear; for staging, seal it or use {name}_FILE"
        if _weak(_mode(values, target)):
            yield f"{name} connects without verify-full; staging refuses that"
    if tier not in STRICT_TIERS:
        for name, rule in weak_passwords(values):
            yield f"{name}: {rule}; staging refuses that"


def weak_passwords(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (variable, rule) for each rule that the password of a URL breaks.

    URLs with a client certificate, or of a Unix socket, may have no password.
    """
    for name in DATABASE_URLS:
        target = values[name]
        if target is None or target.password is None:
            continue
        for rule in broken_password_rules(target.password.reveal(), (target.user, target.database)):
            yield name, f"the password {rule}"


def _backup_rules(tier: Tier, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if values["BACKUP_INTERVAL"] and not values["BACKUP_RECIPIENTS"]:
        yield "BACKUP_RECIPIENTS", f"is required in {tier} when BACKUP_INTERVAL is set"
    if values["BACKUP_VERIFY_INTERVAL"] and values["BACKUP_VERIFY_IDENTITY"] is None:
        yield "BACKUP_VERIFY_IDENTITY", f"is required in {tier} when BACKUP_VERIFY_INTERVAL is set"


def _file_rules(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _READ_FILES:
        if values[name] is not None and not os.access(values[name], os.R_OK):
            yield name, "must name a file that can be read"


def _key_rules(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    command = values["KEY_COMMAND"]
    if command is not None and values["KEY_RING"] is not None:
        yield "KEY_COMMAND", "must not be set together with KEY_RING"
    elif command is not None and not os.access(command, os.X_OK):
        yield "KEY_COMMAND", "must name a file that can be executed"


def _oidc_rules(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if values["OIDC_ISSUER"] is None:
        for name in ("OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"):
            if values[name] is not None:
                yield name, "must not be set without OIDC_ISSUER"
        return
    if values["OIDC_CLIENT_ID"] is None:
        yield "OIDC_CLIENT_ID", "is required with OIDC_ISSUER"
    # The address to which the provider sends people back must not come from a request.
    public = values["PUBLIC_URL"]
    if public is None:
        yield "PUBLIC_URL", "is required with OIDC_ISSUER: the provider sends people back to it"
    elif not public.startswith("https:") and not is_loopback(urlsplit(public).hostname or ""):
        yield "PUBLIC_URL", "must begin with https:// when OIDC_ISSUER is set, except on loopback"


def _grpc_rules(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    certificate = values["GRPC_TLS_CERTIFICATE"]
    if bool(certificate) != bool(values["GRPC_TLS_KEY"]):
        yield "GRPC_TLS_KEY", "must be set together with GRPC_TLS_CERTIFICATE"
    if values["GRPC_TLS_CLIENT_CA"] is not None and certificate is None:
        yield "GRPC_TLS_CLIENT_CA", "must not be set without GRPC_TLS_CERTIFICATE"
    if values["GRPC_PORT"] is not None and values["GRPC_PORT"] == values["PORT"]:
        yield "GRPC_PORT", "must not be PORT"
    if values["GRPC_PORT"] is not None or values["GRPC_SOCKET"] is not None:
        yield from _grpc_access_rules(values)


def _grpc_access_rules(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    access = values["GRPC_ACCESS"]
    is_local = values["GRPC_PORT"] is None or all(map(is_loopback, values["GRPC_HOST"] or ()))
    if access is GrpcAccess.LOCAL and not is_local:
        rule = "must not be local when GRPC_HOST is not a loopback address"
        yield "GRPC_ACCESS", f"{rule}: set token, certificate or bearer"
    if access is GrpcAccess.TOKEN and values["GRPC_TOKEN"] is None:
        yield "GRPC_TOKEN", "is required when GRPC_ACCESS is token"
    if access is GrpcAccess.CERTIFICATE:
        for name in ("GRPC_CLIENTS", "GRPC_TLS_CLIENT_CA"):
            if values[name] is None:
                yield name, "is required when GRPC_ACCESS is certificate"
        if values["GRPC_SOCKET"] is not None:
            yield "GRPC_SOCKET", "must not be set when GRPC_ACCESS is certificate"


def _tls_rules(tier: Tier, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in DATABASE_URLS:
        tls = values[name].tls if values[name] else None
        files = (tls.ca, tls.certificate, tls.key) if tls else ()
        if not all(os.access(file, os.R_OK) for file in files if file is not None):
            yield name, "must name files that can be read as sslrootcert, sslcert and sslkey"
    mode = values["DATABASE_TLS_MODE"]
    for name in DATABASE_URLS:
        target = values[name]
        if target is None or target.is_socket:
            continue
        if mode and target.tls.mode and mode is not target.tls.mode:
            yield name, "must not have another sslmode than DATABASE_TLS_MODE"
        elif tier in STRICT_TIERS and _weak(_mode(values, target)):
            yield name, f"must use TLS with verify-full over TCP in {tier}"


def _relay_rules(
    tier: Tier, values: Mapping[str, Any], not_in_clear: set[str]
) -> Iterator[tuple[str, str]]:
    upstream = values["RELAY_UPSTREAM"]
    if upstream is None:
        return
    if values["RELAY_TOKEN"] is None:
        yield "RELAY_TOKEN", "is required with RELAY_UPSTREAM"
    for name in DATABASE_URLS:
        if values[name] is not None:
            yield name, "must not be set together with RELAY_UPSTREAM: a relay has no database"
    if tier in STRICT_TIERS:
        if not upstream.startswith("https://"):
            yield "RELAY_UPSTREAM", f"must begin with https:// in {tier}"
        if values["RELAY_TOKEN"] is not None and "RELAY_TOKEN" not in not_in_clear:
            yield (
                "RELAY_TOKEN",
                f"must not be in clear in {tier}: seal it, or use RELAY_TOKEN_FILE",
            )


def _strict_rules(
    tier: Tier, values: Mapping[str, Any], not_in_clear: set[str]
) -> Iterator[tuple[str, str]]:
    if values["DATABASE_URL"] is None:
        yield "DATABASE_URL", f"is required in {tier}: the embedded PostgreSQL is refused there"
    if values["TOKEN_KEY"] is None:
        yield "TOKEN_KEY", f"is required in {tier}"
    if values["SEED_ON_START"]:
        yield "SEED_ON_START", f"must be false in {tier}: test data is refused there"
    for name in DATABASE_URLS:
        target = values[name]
        if values["ALLOW_PLAINTEXT_DSN"] or target is None or target.is_socket:
            continue
        if target.password and name not in not_in_clear:
            yield name, f"must not hold a password in clear in {tier}: seal it, or use {name}_FILE"
    for name, rule in weak_passwords(values):
        yield name, f"{rule} in {tier}"


def _mode(values: Mapping[str, Any], target: Target) -> TlsMode:
    return values["DATABASE_TLS_MODE"] or target.tls.mode or TlsMode.VERIFY_FULL


def _weak(mode: TlsMode) -> bool:
    return mode is not TlsMode.VERIFY_FULL
