"""The settings, read once into frozen groups; every mistake comes in one message."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.crypto.secret import Secret
from app.settings.env_file import ENV_FILE, read_env_file
from app.settings.parsers import Network
from app.settings.reading import SettingsError, read_values
from app.settings.rules import STRICT_TIERS, warnings
from app.settings.target import Target, Tls, TlsMode, parse_target
from app.settings.unknown_names import unknown_names
from app.settings.variable import LogFormat, Pooler, Tier

__all__ = [
    "STRICT_TIERS",
    "AccessSettings",
    "AuditSettings",
    "BackupSettings",
    "DatabaseSettings",
    "HealthSettings",
    "HttpSettings",
    "KeySettings",
    "LogFormat",
    "LogSettings",
    "Network",
    "Pooler",
    "Secret",
    "Settings",
    "SettingsError",
    "Target",
    "Tier",
    "Tls",
    "TlsMode",
    "load",
    "parse_target",
]

_HEADS_FILE = "audit-heads.jsonl"


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    level: int
    format: LogFormat


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    hosts: tuple[str, ...]
    port: int
    workers: int
    hsts: bool
    public_url: str | None
    cors_origins: tuple[str, ...]
    trusted_proxies: tuple[Network, ...]
    request_timeout_seconds: float
    header_timeout_seconds: float
    body_timeout_seconds: float
    bodies_bytes_max: int
    idle_timeout_seconds: float
    drain_seconds: float
    shutdown_timeout_seconds: float
    request_log_sample: int


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """`target` is None when the embedded PostgreSQL is to be used."""

    target: Target | None
    migrator: Target | None
    admin: Target | None
    backup: Target | None
    pool_min: int
    pool_max: int
    acquire_timeout_seconds: float
    connect_timeout_seconds: float
    host_timeout_seconds: float
    connect_attempts: int
    command_timeout_seconds: float
    lock_timeout_seconds: float
    idle_timeout_seconds: float
    statement_cache_size: int
    pooler: Pooler
    migrate_on_start: bool
    seed_on_start: bool
    embedded_account: str | None


@dataclass(frozen=True, kw_only=True)
class AccessSettings:
    token_key: Secret | None
    log_on_stdout: bool


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    heads_file: Path


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """What wraps the data keys of secrets: a key ring, perhaps of a file, or a command."""

    ring: Secret | None
    ring_file: Path | None
    command: Path | None


@dataclass(frozen=True, kw_only=True)
class BackupSettings:
    """`recipients` is empty where none are named; `interval_seconds` is 0 for no schedule."""

    folder: Path
    recipients: tuple[str, ...]
    keep: int
    interval_seconds: float


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    interval_seconds: float
    timeout_seconds: float
    retention_seconds: float


@dataclass(frozen=True, kw_only=True)
class Settings:
    tier: Tier
    instance: str
    data_dir: Path
    snapshot_on_disk: bool
    log: LogSettings
    http: HttpSettings
    database: DatabaseSettings
    access: AccessSettings
    audit: AuditSettings
    keys: KeySettings
    backups: BackupSettings
    health: HealthSettings
    warnings: tuple[str, ...]


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the process's environment, or the mapping that is given, into settings.

    Without a mapping, a file `.env` in the working directory fills in what the environment leaves
    out. What is sealed is opened with this host's identity. Raises SettingsError that names every
    variable and rule that is broken, and no value.
    """
    of_file = read_env_file(ENV_FILE) if environ is None else {}
    of_environment = os.environ if environ is None else environ
    tier, values, kept_secret, files = read_values({**of_file, **of_environment})
    return Settings(
        tier=tier,
        instance=values["INSTANCE_ID"] or socket.gethostname(),
        data_dir=values["DATA_DIR"].absolute(),
        snapshot_on_disk=values["SNAPSHOT_ON_DISK"],
        log=LogSettings(level=values["LOG_LEVEL"], format=values["LOG_FORMAT"]),
        http=HttpSettings(
            hosts=values["HOST"],
            port=values["PORT"],
            workers=values["WORKERS"],
            hsts=values["HSTS"],
            public_url=values["PUBLIC_URL"],
            cors_origins=values["CORS_ORIGINS"],
            trusted_proxies=values["TRUSTED_PROXIES"] or (),
            request_timeout_seconds=values["REQUEST_TIMEOUT"],
            header_timeout_seconds=values["HEADER_TIMEOUT"],
            body_timeout_seconds=values["BODY_TIMEOUT"],
            bodies_bytes_max=values["BODIES_MAX_MIB"] * 1024 * 1024,
            idle_timeout_seconds=values["IDLE_TIMEOUT"],
            drain_seconds=values["DRAIN_SECONDS"],
            shutdown_timeout_seconds=values["SHUTDOWN_TIMEOUT"],
            request_log_sample=values["REQUEST_LOG_SAMPLE"],
        ),
        database=_database(tier, values),
        access=AccessSettings(
            token_key=values["TOKEN_KEY"], log_on_stdout=values["ACCESS_LOG_STDOUT"]
        ),
        audit=AuditSettings(
            heads_file=(values["AUDIT_HEADS_FILE"] or values["DATA_DIR"] / _HEADS_FILE).absolute()
        ),
        keys=KeySettings(
            ring=values["KEY_RING"],
            ring_file=files.get("KEY_RING"),
            command=values["KEY_COMMAND"],
        ),
        backups=BackupSettings(
            folder=(values["BACKUP_DIR"] or values["DATA_DIR"] / "backups").absolute(),
            recipients=values["BACKUP_RECIPIENTS"] or (),
            keep=values["BACKUP_KEEP"],
            interval_seconds=values["BACKUP_INTERVAL"],
        ),
        health=HealthSettings(
            interval_seconds=values["HEARTBEAT_INTERVAL"],
            timeout_seconds=values["HEARTBEAT_TIMEOUT"],
            retention_seconds=values["HEARTBEAT_RETENTION"],
        ),
        warnings=(
            *warnings(tier, values, kept_secret),
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
    return DatabaseSettings(
        target=target,
        migrator=secured(values["DATABASE_MIGRATOR_URL"]) or target,
        admin=secured(values["DATABASE_ADMIN_URL"]),
        backup=secured(values["DATABASE_BACKUP_URL"]),
        pool_min=values["DATABASE_POOL_MIN"],
        pool_max=values["DATABASE_POOL_MAX"],
        acquire_timeout_seconds=values["DATABASE_ACQUIRE_TIMEOUT"],
        connect_timeout_seconds=values["DATABASE_CONNECT_TIMEOUT"],
        host_timeout_seconds=values["DATABASE_HOST_TIMEOUT"],
        connect_attempts=values["DATABASE_CONNECT_ATTEMPTS"],
        command_timeout_seconds=values["DATABASE_COMMAND_TIMEOUT"],
        lock_timeout_seconds=values["DATABASE_LOCK_TIMEOUT"],
        idle_timeout_seconds=values["DATABASE_IDLE_TIMEOUT"],
        statement_cache_size=values["DATABASE_STATEMENT_CACHE"],
        pooler=values["DATABASE_POOLER"],
        migrate_on_start=values["MIGRATE_ON_START"],
        seed_on_start=values["SEED_ON_START"],
        embedded_account=values["EMBEDDED_ACCOUNT"],
    )
