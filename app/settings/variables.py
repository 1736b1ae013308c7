"""Every setting, declared once with its environment variable.

Parsing, `.env.example` and the table of docs/settings.md come from these declarations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.crypto.secret import Secret
from app.settings import parsers
from app.settings.parsers import Network
from app.settings.target import Target, TlsMode, parse_target
from app.settings.trusted_headers import header_name
from app.settings.variable import (
    GrpcAccess,
    LogFormat,
    Pooler,
    Tier,
    Variable,
    section,
    tiers,
    variable,
)

# A table: the name, the parser and the default of each variable, then its help.
# fmt: off


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """`target` is None for the embedded PostgreSQL."""

    target: Target | None = variable("DATABASE_URL", parse_target, None,
        "URL of the app role: postgresql://user:password@host:port/database. Unset: the embedded "
        "PostgreSQL.", secret=True)
    migrator: Target | None = variable("DATABASE_MIGRATOR_URL", parse_target, None,
        "URL of the migrator role; it must not go through a pooler. Unset: DATABASE_URL.",
        secret=True)
    admin: Target | None = variable("DATABASE_ADMIN_URL", parse_target, None,
        "URL of a role that may create roles. Only `database provision` uses it.", secret=True)
    backup: Target | None = variable("DATABASE_BACKUP_URL", parse_target, None,
        "URL of the backup role, which reads all tables; it must not go through a pooler. Unset: "
        "the migrator's URL.", secret=True)
    pool_min: int = variable(
        "DATABASE_POOL_MIN", parsers.whole_number(0, 100), tiers("0", "0", "2", "2"),
        "Minimum of open connections per process.")
    pool_max: int = variable(
        "DATABASE_POOL_MAX", parsers.whole_number(1, 500), tiers("5", "10", "10", "10"),
        "Maximum of connections per process. Keep the connections of all processes together below "
        "80 % of the server's max_connections.")
    acquire_timeout_seconds: float = variable(
        "DATABASE_ACQUIRE_TIMEOUT", parsers.seconds(0.05, 60), "1",
        "Seconds to wait for a pooled connection before the answer is 503. Includes opening one.")
    connect_timeout_seconds: float = variable(
        "DATABASE_CONNECT_TIMEOUT", parsers.seconds(1, 120), tiers("10", "30", "30", "30"),
        "Seconds for all connection attempts on all hosts.")
    host_timeout_seconds: float = variable("DATABASE_HOST_TIMEOUT", parsers.seconds(0.1, 60), "5",
        "Seconds for one connection attempt on one host.")
    connect_attempts: int = variable("DATABASE_CONNECT_ATTEMPTS", parsers.whole_number(1, 10), "3",
        "Connection attempts, with backoff. A wrong password or failed TLS is not retried.")
    command_timeout_seconds: float = variable(
        "DATABASE_COMMAND_TIMEOUT", parsers.seconds(0.1, 300), "1.4",
        "Seconds for one statement. Cancelling takes as long again, so a write to a frozen server "
        "fails after 2.8 s.")
    lock_timeout_seconds: float = variable("DATABASE_LOCK_TIMEOUT", parsers.seconds(0.05, 60), "1",
        "Seconds to wait for a lock; at most DATABASE_COMMAND_TIMEOUT.")
    idle_timeout_seconds: float = variable(
        "DATABASE_IDLE_TIMEOUT", parsers.seconds(1, 86400), "600",
        "Seconds until an idle connection above the minimum is closed.")
    statement_cache_size: int = variable(
        "DATABASE_STATEMENT_CACHE", parsers.whole_number(0, 10_000),
        tiers("100", "100", "256", "256"),
        "Prepared statements per connection; see DATABASE_POOLER for PgBouncer.")
    pooler: Pooler = variable("DATABASE_POOLER", parsers.choice(Pooler), "none",
        "transaction if DATABASE_URL goes through PgBouncer in transaction mode. If its "
        "max_prepared_statements is 0, the default until 1.24, also set "
        "DATABASE_STATEMENT_CACHE=0.")
    migrate_on_start: bool = variable("MIGRATE_ON_START", parsers.boolean, "true",
        "Apply migrations before serving. Instances wait for each other.")
    seed_on_start: bool = variable(
        "SEED_ON_START", parsers.boolean, tiers("true", "true", "false", "false"),
        "Add test data to an empty installation. Must be false in staging and production.")
    embedded_account: str | None = variable("EMBEDDED_ACCOUNT", str, None,
        "Account that runs the embedded PostgreSQL if the service starts as root. Unset: the "
        "owner of DATA_DIR, postgres or nobody.")


# Variables without a field. They change how the URLs are read.
URL_VARIABLES = (
    Variable("ALLOW_PLAINTEXT_DSN", parsers.boolean, "false",
        "Accept these URLs with a password in clear in staging and production, with a warning at "
        "each start."),
    Variable("DATABASE_TLS_MODE", parsers.choice(TlsMode), None,
        "sslmode for TCP. Unset: the URL's, else prefer in local and verify-full elsewhere."),
    Variable("DATABASE_TLS_CA", parsers.path, None,
        "PEM file of the certificate authorities to trust. Unset: the system's."),
    Variable("DATABASE_TLS_CERTIFICATE", parsers.path, None, "PEM file of the client certificate."),
    Variable("DATABASE_TLS_KEY", parsers.path, None, "PEM file of the client key."),
)


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    level: int = variable("LOG_LEVEL", parsers.log_level, "info", "debug, info, warning or error.")
    format: LogFormat = variable(
        "LOG_FORMAT", parsers.choice(LogFormat), tiers("console", "json", "json", "json"),
        "console prints plain text, json prints JSON lines.")


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    hosts: tuple[str, ...] = variable("HOST", parsers.hosts, "127.0.0.1",
        "Addresses or host names to listen on, separated by commas. `0.0.0.0` is every IPv4 "
        "address, `::` every IPv6 address, `*` both. Unix sockets are not supported.")
    port: int = variable("PORT", parsers.whole_number(1, 65535), "8080", "Port to listen on.")
    workers: int = variable("WORKERS", parsers.whole_number(1, 64), "1",
        "Processes that share the port, each with its own pool. Use about one per core.")
    fast_path: bool = variable("FAST_PATH", parsers.boolean, "true",
        "Answer evaluations, reads of entries and probes with about half the processor time. The "
        "answers are the same without it.")
    hsts: bool = variable("HSTS", parsers.boolean, "false",
        "Send Strict-Transport-Security. Set it to true only behind TLS.")
    public_url: str | None = variable("PUBLIC_URL", parsers.web_url, None,
        "URL at which clients reach this service, with its path prefix. Unset: the URL "
        "of the request. Outside of the local tier, signing in to the console needs an https URL.")
    cors_origins: tuple[str, ...] = variable("CORS_ORIGINS", parsers.origins, "*",
        "Origins whose pages may evaluate flags, separated by commas; `*` for all.")
    trusted_proxies: tuple[Network, ...] = variable("TRUSTED_PROXIES", parsers.networks, None,
        "Networks of proxies whose X-Forwarded-For is trusted, separated by commas.")
    request_timeout_seconds: float = variable("REQUEST_TIMEOUT", parsers.seconds(1, 300), "5",
        "Seconds for the answer to a write, after its body is read.")
    header_timeout_seconds: float = variable("HEADER_TIMEOUT", parsers.seconds(1, 60), "10",
        "Seconds in which a client must send the head of a request.")
    body_timeout_seconds: float = variable("BODY_TIMEOUT", parsers.seconds(1, 300), "15",
        "Seconds in which a client must send a body. A pause may last a third of that.")
    bodies_bytes_max: int = variable("BODIES_MAX_MIB", parsers.mebibytes(16, 65_536), "64",
        "MiB of memory for the bodies of all running requests of a process.")
    idle_timeout_seconds: float = variable("IDLE_TIMEOUT", parsers.seconds(1, 3600), "75",
        "Seconds until a connection without a request is closed.")
    drain_seconds: float = variable(
        "DRAIN_SECONDS", parsers.seconds(0, 60), tiers("0", "0", "5", "5"),
        "Seconds between SIGTERM, when readiness fails, and closing the listening socket.")
    shutdown_timeout_seconds: float = variable("SHUTDOWN_TIMEOUT", parsers.seconds(1, 60), "8",
        "Seconds that running requests have to finish at shutdown. aiohttp may use them twice.")
    request_log_sample: int = variable(
        "REQUEST_LOG_SAMPLE", parsers.whole_number(0, 1_000_000), tiers("1", "1", "100", "100"),
        "Log one of N successful reads and one of N refusals; 0 for none. Reads of unknown flags "
        "and keys count as refusals. Other requests are always logged.")


@dataclass(frozen=True, kw_only=True)
class GrpcSettings:
    """flagd's sync service. It is off without a port and a socket."""

    port: int | None = variable("GRPC_PORT", parsers.whole_number(1, 65535), None,
        "Port on which flagd's sync service speaks gRPC. It needs the package grpcio. Unset: off.")
    hosts: tuple[str, ...] = variable("GRPC_HOST", parsers.hosts, "127.0.0.1",
        "Addresses or host names to listen on, separated by commas.")
    socket: Path | None = variable("GRPC_SOCKET", parsers.socket_path, None,
        "Unix socket on which the sync service listens, too. The first worker serves it.")
    access: GrpcAccess = variable("GRPC_ACCESS", parsers.choice(GrpcAccess), "local",
        "The rights of a call without a token. `local`: reads every environment, on loopback and "
        "GRPC_SOCKET only. `token`: those of GRPC_TOKEN. `certificate`: those of the token that "
        "GRPC_CLIENTS names. `bearer`: none.")
    token: Secret | None = variable("GRPC_TOKEN", Secret, None,
        "Token of all calls without one. It must be for one environment, with the scope read and "
        "at most evaluate.", secret=True)
    clients: Mapping[str, Secret] = variable("GRPC_CLIENTS", parsers.named_tokens, None,
        "Names of client certificates with their tokens: NAME=TOKEN, separated by commas or line "
        "breaks. A name is an alternative name of the certificate, or its common name.",
        secret=True)
    tls_certificate: Path | None = variable("GRPC_TLS_CERTIFICATE", parsers.path, None,
        "PEM file of the server's certificate chain. It is read again when it changes.")
    tls_key: Path | None = variable("GRPC_TLS_KEY", parsers.path, None,
        "PEM file of its key.")
    tls_client_ca: Path | None = variable("GRPC_TLS_CLIENT_CA", parsers.path, None,
        "PEM file of the authorities that sign client certificates. Clients must then have one.")
    streams_max: int = variable("GRPC_STREAMS_MAX", parsers.whole_number(1, 100_000), "2000",
        "Maximum of streams per process. One token may use half of them. Each takes about 40 KiB.")

    @property
    def is_on(self) -> bool:
        return self.port is not None or self.socket is not None


@dataclass(frozen=True, kw_only=True)
class AccessSettings:
    token_key: Secret | None = variable("TOKEN_KEY", parsers.key_material, None,
        "Key of at least 32 characters for token MACs, the same on every instance. Unset in local "
        "and development: generated in DATA_DIR.", secret=True)
    log_on_stdout: bool = variable(
        "ACCESS_LOG_STDOUT", parsers.boolean, tiers("false", "true", "true", "true"),
        "Also write the access log to standard output as JSON lines. Other log lines then go to "
        "standard error.")


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """Sign-in with an OpenID Connect provider. It is off without an issuer."""

    issuer: str | None = variable("OIDC_ISSUER", parsers.issuer, None,
        "Issuer of the OpenID Connect provider, exactly as its discovery document has it. Needs "
        "OIDC_CLIENT_ID and PUBLIC_URL. Unset: people sign in with tokens and one-time links.")
    client_id: str | None = variable("OIDC_CLIENT_ID", parsers.client_id, None,
        "Client ID that the provider gave to this service.")
    client_secret: Secret | None = variable("OIDC_CLIENT_SECRET", Secret, None,
        "Client secret that the provider gave to this service. Unset: a public client.",
        secret=True)
    scopes: tuple[str, ...] = variable("OIDC_SCOPES", parsers.scopes, "openid profile email",
        "Scopes to ask for, separated by spaces. Add the scope of the groups if the provider has "
        "one, and offline_access if it needs that for a refresh token.")
    groups_claim: str = variable("OIDC_GROUPS_CLAIM", parsers.claim, "groups",
        "Claim with the groups of a person. Dots lead into objects, as in realm_access.roles.")


@dataclass(frozen=True, kw_only=True)
class TrustedHeaderSettings:
    """Sign-in with an identity-aware proxy. It is off without the header of the person."""

    user: str | None = variable(
        "TRUSTED_USER_HEADER", header_name, None,
        "Header in which a proxy of TRUSTED_PROXIES names the person who uses the console. The "
        "proxy must remove this header from requests of clients. Unset: off.")
    groups: str | None = variable(
        "TRUSTED_GROUPS_HEADER", header_name, None,
        "Header in which the same proxy names the person's groups, separated by commas. Unset: no "
        "groups.")


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    heads_file: Path = variable("AUDIT_HEADS_FILE", parsers.path, None,
        "File to which signed heads of the history are appended each minute. Best on a machine "
        "that the owner of the tables cannot reach. Unset: audit-heads.jsonl in DATA_DIR.")


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """A key ring, which may come from a file, or a command wraps the data keys."""

    ring: Secret | None = variable("KEY_RING", Secret, None,
        "Key-encryption keys, the same on every instance. A file is read again when it changes. "
        "Unset in local: generated in DATA_DIR.", secret=True)
    ring_file: Path | None
    command: Path | None = variable("KEY_COMMAND", parsers.path, None,
        "Program that wraps and unwraps data keys, instead of a key ring.")


@dataclass(frozen=True, kw_only=True)
class BackupSettings:
    """`interval_seconds` is 0 without a schedule, and `verify_interval_seconds` without drills."""

    folder: Path = variable("BACKUP_DIR", parsers.path, None,
        "Folder for backups, best on another disk. Unset: DATA_DIR/backups.")
    recipients: tuple[str, ...] = variable("BACKUP_RECIPIENTS", parsers.recipients, None,
        "age recipients that can decrypt the backups, separated by commas. Unset in local: one "
        "whose identity is generated in DATA_DIR.")
    keep: int = variable("BACKUP_KEEP", parsers.whole_number(1, 10_000), "14",
        "Number of backups that pruning keeps.")
    interval_seconds: float = variable("BACKUP_INTERVAL", parsers.pause(60, 31_536_000), "0",
        "Seconds between scheduled backups; 0 for no schedule.")
    verify_interval_seconds: float = variable(
        "BACKUP_VERIFY_INTERVAL", parsers.pause(60, 31_536_000), "0",
        "Seconds between drills: restores of the newest backup into a temporary server; 0 for "
        "none.")
    verify_identity: Path | None = variable("BACKUP_VERIFY_IDENTITY", parsers.path, None,
        "File of the identity that decrypts the backups for the drill. Unset in local: the one "
        "in DATA_DIR.")


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    interval_seconds: float = variable("HEARTBEAT_INTERVAL", parsers.seconds(0.1, 3600), "15",
        "Seconds between two rows in health_check, with 20 % jitter.")
    timeout_seconds: float = variable("HEARTBEAT_TIMEOUT", parsers.seconds(0.1, 60), "2",
        "Seconds until a heartbeat counts as missed.")
    retention_seconds: float = variable(
        "HEARTBEAT_RETENTION", parsers.seconds(60, 31_536_000), "21600",
        "Seconds that heartbeat rows are stored.")


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """`is_on` is false if the extra is missing, or another OTEL_ variable turns it off."""

    endpoint: str | None = variable("OTEL_EXPORTER_OTLP_ENDPOINT", parsers.web_url, None,
        "URL of an OpenTelemetry collector that gets traces and metrics over HTTP, such as "
        "http://127.0.0.1:4318. Needs the extra otel. Unset: off.")
    headers: Secret | None = variable("OTEL_EXPORTER_OTLP_HEADERS", Secret, None,
        "Headers for the collector, such as a token: name=value, separated by commas.",
        secret=True)
    is_on: bool


@dataclass(frozen=True, kw_only=True)
class RelaySettings:
    """`upstream` is None for a service with a database."""

    upstream: str | None = variable("RELAY_UPSTREAM", parsers.web_url, None,
        "URL of the service or relay that `relay` follows. A relay has no database.")
    token: Secret | None = variable("RELAY_TOKEN", parsers.token, None,
        "Token of the upstream with the scope relay. It also encrypts the snapshots on disk.",
        secret=True)
    ca: Path | None = variable("RELAY_CA", parsers.path, None,
        "PEM file of the certificate authorities to trust for the upstream. Unset: the system's.")
    answer_bytes_max: int = variable(
        "RELAY_ANSWER_MAX_MIB", parsers.mebibytes(1, 65_536), "512",
        "MiB of the largest answer of the upstream: an environment with all entries.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    tier: Tier = variable("TIER", parsers.choice(Tier), "local",
        "local, development, staging or production. Sets defaults and what is allowed.")
    instance: str = variable("INSTANCE_ID", str, None,
        "Name of this instance in logs, health and migrations. Unset: the host name.")
    data_dir: Path = variable("DATA_DIR", parsers.path, ".data",
        "Folder of the embedded PostgreSQL, the local token and key ring, and the snapshots.")
    snapshot_on_disk: bool = variable("SNAPSHOT_ON_DISK", parsers.boolean, "true",
        "Store an encrypted snapshot in DATA_DIR, to start from while the database is down.")
    snapshot_idle_seconds: float = variable(
        "SNAPSHOT_IDLE_SECONDS", parsers.seconds(0, 604_800), "3600",
        "An environment that was not asked for in this time is dropped from memory, if all in "
        "memory have more than 20,000 entries; 0 loads all at the start and drops none.")
    group_commit: bool = variable("GROUP_COMMIT", parsers.boolean, "true",
        "Let writes to one environment that wait at the same moment share a transaction.")
    log: LogSettings
    http: HttpSettings
    grpc: GrpcSettings
    database: DatabaseSettings
    access: AccessSettings
    oidc: OidcSettings
    trusted_headers: TrustedHeaderSettings
    audit: AuditSettings
    keys: KeySettings
    backups: BackupSettings
    health: HealthSettings
    relay: RelaySettings
    telemetry: TelemetrySettings
    warnings: tuple[str, ...]


VARIABLES: tuple[Variable, ...] = (
    *section(
        "Process",
        Settings,
        Variable("IDENTITY_FILE", parsers.path, None,
            "File of the age identity that decrypts sealed settings, mode 600. The systemd "
            "credential flagstone-identity has priority."),
        Variable("IDENTITY_COMMAND", str, None,
            "Program and arguments that print the identity within 10 s. Used without a file."),
        LogSettings,
    ),
    *section("HTTP", HttpSettings),
    *section("Database", DatabaseSettings, *URL_VARIABLES),
    *section("Access", AccessSettings, AuditSettings),
    *section("Sign-in", OidcSettings, TrustedHeaderSettings),
    *section("Secrets", KeySettings),
    *section("Backups", BackupSettings),
    *section("Health", HealthSettings),
    *section("Relay", RelaySettings),
    *section("flagd sync", GrpcSettings),
    *section("OpenTelemetry", TelemetrySettings),
)
