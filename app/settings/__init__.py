"""The settings, read once into frozen dataclasses. One message names every mistake."""

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.crypto.secret import Secret
from app.settings.env_file import ENV_FILE, read_env_file
from app.settings.parsers import Network
from app.settings.reading import SettingsError, read_values
from app.settings.rules import STRICT_TIERS, warnings
from app.settings.target import Target, Tls, TlsMode, parse_target
from app.settings.telemetry import export_variables, is_telemetry_on, telemetry_warnings
from app.settings.unknown_names import unknown_names
from app.settings.variable import GrpcAccess, LogFormat, Pooler, Tier, filled
from app.settings.variables import (
    AccessSettings,
    AuditSettings,
    BackupSettings,
    DatabaseSettings,
    GrpcSettings,
    HealthSettings,
    HttpSettings,
    KeySettings,
    LogSettings,
    OidcSettings,
    RelaySettings,
    Settings,
    TelemetrySettings,
    TrustedHeaderSettings,
)

__all__ = [
    "STRICT_TIERS",
    "AccessSettings",
    "AuditSettings",
    "BackupSettings",
    "DatabaseSettings",
    "GrpcAccess",
    "GrpcSettings",
    "HealthSettings",
    "HttpSettings",
    "KeySettings",
    "LogFormat",
    "LogSettings",
    "Network",
    "OidcSettings",
    "Pooler",
    "RelaySettings",
    "Secret",
    "Settings",
    "SettingsError",
    "Target",
    "TelemetrySettings",
    "Tier",
    "Tls",
    "TlsMode",
    "TrustedHeaderSettings",
    "load",
    "parse_target",
]

_HEADS_FILE = "audit-heads.jsonl"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings from the process's environment, or from the mapping.

    Without a mapping, a file `.env` in the working directory supplies variables that the
    environment does not set. Sealed values are opened with this host's identity. Raises
    SettingsError, which names every variable that breaks a rule, and no value.
    """
    of_file = read_env_file(ENV_FILE) if environ is None else {}
    of_environment = os.environ if environ is None else environ
    if environ is None:
        export_variables(of_file)
    tier, values, not_in_clear, files = read_values({**of_file, **of_environment})
    data_dir = values["DATA_DIR"].absolute()
    heads_file = values["AUDIT_HEADS_FILE"] or data_dir / _HEADS_FILE
    backup_dir = values["BACKUP_DIR"] or data_dir / "backups"
    return filled(
        Settings,
        values,
        instance=values["INSTANCE_ID"] or socket.gethostname(),
        data_dir=data_dir,
        log=filled(LogSettings, values),
        http=filled(HttpSettings, values, trusted_proxies=values["TRUSTED_PROXIES"] or ()),
        grpc=filled(GrpcSettings, values, clients=values["GRPC_CLIENTS"] or {}),
        database=_database(tier, values),
        access=filled(AccessSettings, values),
        oidc=filled(OidcSettings, values),
        trusted_headers=filled(TrustedHeaderSettings, values),
        audit=AuditSettings(heads_file=heads_file.absolute()),
        keys=filled(KeySettings, values, ring_file=files.get("KEY_RING")),
        backups=filled(
            BackupSettings,
            values,
            folder=backup_dir.absolute(),
            recipients=values["BACKUP_RECIPIENTS"] or (),
        ),
        health=filled(HealthSettings, values),
        relay=filled(RelaySettings, values),
        telemetry=filled(
            TelemetrySettings, values, is_on=is_telemetry_on(values, {**of_file, **of_environment})
        ),
        warnings=(
            *warnings(tier, values, not_in_clear),
            *telemetry_warnings(values, {**of_file, **of_environment}),
            *unknown_names(of_file, of_environment),
        ),
    )


def _database(tier: Tier, values: Mapping[str, Any]) -> DatabaseSettings:
    def secured(target: Target | None) -> Target | None:
        if target is None:
            return None
        if target.is_socket:
            return replace(target, tls=Tls(mode=TlsMode.DISABLE))
        fallback = TlsMode.PREFER if tier is Tier.LOCAL else TlsMode.VERIFY_FULL
        return replace(
            target,
            tls=Tls(
                mode=values["DATABASE_TLS_MODE"] or target.tls.mode or fallback,
                ca=values["DATABASE_TLS_CA"] or target.tls.ca,
                certificate=values["DATABASE_TLS_CERTIFICATE"] or target.tls.certificate,
                key=values["DATABASE_TLS_KEY"] or target.tls.key,
            ),
        )

    target = secured(values["DATABASE_URL"])
    return filled(
        DatabaseSettings,
        values,
        target=target,
        migrator=secured(values["DATABASE_MIGRATOR_URL"]) or target,
        admin=secured(values["DATABASE_ADMIN_URL"]),
        backup=secured(values["DATABASE_BACKUP_URL"]),
    )
