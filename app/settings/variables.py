"""Every setting, declared once with its environment variable.

The parsing, `.env.example` and the table of docs/settings.md come from these declarations.
"""

from dataclasses import dataclass
from pathlib import Path

from app.crypto.secret import Secret
from app.settings import parsers
from app.settings.database_variables import URL_VARIABLES, DatabaseSettings
from app.settings.parsers import Network
from app.settings.variable import LogFormat, Tier, Variable, section, tiers, variable


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    level: int = variable("LOG_LEVEL", parsers.log_level, "info", "debug, info, warning or error.")
    format: LogFormat = variable(
        "LOG_FORMAT",
        parsers.choice(LogFormat),
        tiers("console", "json", "json", "json"),
        "console for people, json for machines.",
    )


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    hosts: tuple[str, ...] = variable(
        "HOST",
        parsers.hosts,
        "127.0.0.1",
        "Addresses or host names to listen on, separated by commas. `0.0.0.0` is every IPv4 "
        "address, `::` every IPv6 address, `*` both. Unix sockets are not supported.",
    )
    port: int = variable("PORT", parsers.whole_number(1, 65535), "8080", "Port to listen on.")
    workers: int = variable(
        "WORKERS",
        parsers.whole_number(1, 64),
        "1",
        "Processes that share the port, each with its own pool. Use about one per core.",
    )
    hsts: bool = variable(
        "HSTS",
        parsers.boolean,
        "false",
        "Send Strict-Transport-Security. Set it to true only behind TLS.",
    )
    public_url: str | None = variable(
        "PUBLIC_URL",
        parsers.web_url,
        None,
        "URL at which clients reach this service, with its path prefix. Unset: that of the "
        "request.",
    )
    cors_origins: tuple[str, ...] = variable(
        "CORS_ORIGINS",
        parsers.origins,
        "*",
        "Origins whose pages may evaluate flags, separated by commas; `*` for all.",
    )
    trusted_proxies: tuple[Network, ...] = variable(
        "TRUSTED_PROXIES",
        parsers.networks,
        None,
        "Networks of proxies whose X-Forwarded-For is trusted, separated by commas.",
    )
    request_timeout_seconds: float = variable(
        "REQUEST_TIMEOUT",
        parsers.seconds(1, 300),
        "5",
        "Seconds for the answer to a write, after its body is read.",
    )
    header_timeout_seconds: float = variable(
        "HEADER_TIMEOUT",
        parsers.seconds(1, 60),
        "10",
        "Seconds in which a client must send the head of a request.",
    )
    body_timeout_seconds: float = variable(
        "BODY_TIMEOUT",
        parsers.seconds(1, 300),
        "15",
        "Seconds in which a client must send a body. It may pause for a third of that.",
    )
    bodies_bytes_max: int = variable(
        "BODIES_MAX_MIB",
        parsers.mebibytes(16, 65_536),
        "64",
        "MiB of memory for the bodies of all running requests of a process.",
    )
    idle_timeout_seconds: float = variable(
        "IDLE_TIMEOUT",
        parsers.seconds(1, 3600),
        "75",
        "Seconds until a connection without a request is closed.",
    )
    drain_seconds: float = variable(
        "DRAIN_SECONDS",
        parsers.seconds(0, 60),
        tiers("0", "0", "5", "5"),
        "Seconds between SIGTERM, when readiness fails, and closing the listening socket.",
    )
    shutdown_timeout_seconds: float = variable(
        "SHUTDOWN_TIMEOUT",
        parsers.seconds(1, 60),
        "8",
        "Seconds that running requests have to finish at shutdown. aiohttp may use them twice.",
    )
    request_log_sample: int = variable(
        "REQUEST_LOG_SAMPLE",
        parsers.whole_number(0, 1_000_000),
        tiers("1", "1", "100", "100"),
        "Log one of N successful reads and one of N refusals; 0 for none. Other requests are "
        "always logged.",
    )


@dataclass(frozen=True, kw_only=True)
class AccessSettings:
    token_key: Secret | None = variable(
        "TOKEN_KEY",
        parsers.key_material,
        None,
        "Key of at least 32 characters for token MACs, the same on every instance. Unset in local "
        "and development: generated in DATA_DIR.",
        secret=True,
    )
    log_on_stdout: bool = variable(
        "ACCESS_LOG_STDOUT",
        parsers.boolean,
        tiers("false", "true", "true", "true"),
        "Also write the access log to standard output as JSON lines. Other log lines then go to "
        "standard error.",
    )


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    heads_file: Path = variable(
        "AUDIT_HEADS_FILE",
        parsers.path,
        None,
        "File to which signed heads of the history are appended each minute. Best on a machine "
        "that the owner of the tables cannot reach. Unset: audit-heads.jsonl in DATA_DIR.",
    )


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """A key ring, which may come from a file, or a command wraps the data keys."""

    ring: Secret | None = variable(
        "KEY_RING",
        Secret,
        None,
        "Key-encryption keys, the same on every instance. A file is read again when it changes. "
        "Unset in local: generated in DATA_DIR.",
        secret=True,
    )
    ring_file: Path | None
    command: Path | None = variable(
        "KEY_COMMAND",
        parsers.path,
        None,
        "Program that wraps and unwraps data keys, instead of a key ring.",
    )


@dataclass(frozen=True, kw_only=True)
class BackupSettings:
    """`interval_seconds` is 0 without a schedule."""

    folder: Path = variable(
        "BACKUP_DIR",
        parsers.path,
        None,
        "Folder for backups, best on another disk. Unset: DATA_DIR/backups.",
    )
    recipients: tuple[str, ...] = variable(
        "BACKUP_RECIPIENTS",
        parsers.recipients,
        None,
        "age recipients that can open the backups, separated by commas. Unset in local: one whose "
        "identity is generated in DATA_DIR.",
    )
    keep: int = variable(
        "BACKUP_KEEP",
        parsers.whole_number(1, 10_000),
        "14",
        "Number of backups that pruning keeps.",
    )
    interval_seconds: float = variable(
        "BACKUP_INTERVAL",
        parsers.pause(60, 31_536_000),
        "0",
        "Seconds between scheduled backups; 0 for no schedule.",
    )


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    interval_seconds: float = variable(
        "HEARTBEAT_INTERVAL",
        parsers.seconds(0.1, 3600),
        "15",
        "Seconds between two rows in health_check, with 20 % jitter.",
    )
    timeout_seconds: float = variable(
        "HEARTBEAT_TIMEOUT",
        parsers.seconds(0.1, 60),
        "2",
        "Seconds until a heartbeat counts as missed.",
    )
    retention_seconds: float = variable(
        "HEARTBEAT_RETENTION",
        parsers.seconds(60, 31_536_000),
        "21600",
        "Seconds that heartbeat rows are stored.",
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    tier: Tier = variable(
        "TIER",
        parsers.choice(Tier),
        "local",
        "local, development, staging or production. Sets defaults and what is allowed.",
    )
    instance: str = variable(
        "INSTANCE_ID",
        str,
        None,
        "Name of this instance in logs, health and migrations. Unset: the host name.",
    )
    data_dir: Path = variable(
        "DATA_DIR",
        parsers.path,
        ".data",
        "Folder of the embedded PostgreSQL, the local token and key ring, and the snapshots.",
    )
    snapshot_on_disk: bool = variable(
        "SNAPSHOT_ON_DISK",
        parsers.boolean,
        "true",
        "Store an encrypted snapshot in DATA_DIR, to start from while the database is down.",
    )
    log: LogSettings
    http: HttpSettings
    database: DatabaseSettings
    access: AccessSettings
    audit: AuditSettings
    keys: KeySettings
    backups: BackupSettings
    health: HealthSettings
    warnings: tuple[str, ...]


VARIABLES: tuple[Variable, ...] = (
    *section(
        "Process",
        Settings,
        Variable(
            "IDENTITY_FILE",
            parsers.path,
            None,
            "File of the age identity that opens sealed settings, mode 600. The systemd "
            "credential flagstone-identity has priority.",
        ),
        Variable(
            "IDENTITY_COMMAND",
            str,
            None,
            "Program and arguments that print the identity within 10 s. Used without a file.",
        ),
        LogSettings,
    ),
    *section("HTTP", HttpSettings),
    *section("Database", DatabaseSettings, *URL_VARIABLES),
    *section("Access", AccessSettings, AuditSettings),
    *section("Secrets", KeySettings),
    *section("Backups", BackupSettings),
    *section("Health", HealthSettings),
)
