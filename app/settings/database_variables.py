"""The settings of the database, each declared with its environment variable."""

from dataclasses import dataclass

from app.settings import parsers
from app.settings.target import Target, TlsMode, parse_target
from app.settings.variable import Pooler, Variable, tiers, variable


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """`target` is None for the embedded PostgreSQL."""

    target: Target | None = variable(
        "DATABASE_URL",
        parse_target,
        None,
        "URL of the app role: postgresql://user:password@host:port/database. Unset: the embedded "
        "PostgreSQL.",
        secret=True,
    )
    migrator: Target | None = variable(
        "DATABASE_MIGRATOR_URL",
        parse_target,
        None,
        "URL of the migrator role; it must not go through a pooler. Unset: DATABASE_URL.",
        secret=True,
    )
    admin: Target | None = variable(
        "DATABASE_ADMIN_URL",
        parse_target,
        None,
        "URL of a role that may create roles. Only `database provision` uses it.",
        secret=True,
    )
    backup: Target | None = variable(
        "DATABASE_BACKUP_URL",
        parse_target,
        None,
        "URL of the backup role, which reads all tables; it must not go through a pooler. Unset: "
        "the migrator's URL.",
        secret=True,
    )
    pool_min: int = variable(
        "DATABASE_POOL_MIN",
        parsers.whole_number(0, 100),
        tiers("0", "0", "2", "2"),
        "Minimum of open connections per process.",
    )
    pool_max: int = variable(
        "DATABASE_POOL_MAX",
        parsers.whole_number(1, 500),
        tiers("5", "10", "10", "10"),
        "Maximum of connections per process. Keep the sum of all processes below 80 % of the "
        "server's max_connections.",
    )
    acquire_timeout_seconds: float = variable(
        "DATABASE_ACQUIRE_TIMEOUT",
        parsers.seconds(0.05, 60),
        "1",
        "Seconds to wait for a pooled connection before the answer is 503. Includes opening one.",
    )
    connect_timeout_seconds: float = variable(
        "DATABASE_CONNECT_TIMEOUT",
        parsers.seconds(1, 120),
        tiers("10", "30", "30", "30"),
        "Seconds for all connection attempts on all hosts.",
    )
    host_timeout_seconds: float = variable(
        "DATABASE_HOST_TIMEOUT",
        parsers.seconds(0.1, 60),
        "5",
        "Seconds for one connection attempt on one host.",
    )
    connect_attempts: int = variable(
        "DATABASE_CONNECT_ATTEMPTS",
        parsers.whole_number(1, 10),
        "3",
        "Connection attempts, with backoff. A wrong password or failed TLS is not retried.",
    )
    command_timeout_seconds: float = variable(
        "DATABASE_COMMAND_TIMEOUT",
        parsers.seconds(0.1, 300),
        "1.4",
        "Seconds for one statement. Cancelling takes as long again, so a write to a frozen server "
        "fails after 2.8 s.",
    )
    lock_timeout_seconds: float = variable(
        "DATABASE_LOCK_TIMEOUT",
        parsers.seconds(0.05, 60),
        "1",
        "Seconds to wait for a lock; at most DATABASE_COMMAND_TIMEOUT.",
    )
    idle_timeout_seconds: float = variable(
        "DATABASE_IDLE_TIMEOUT",
        parsers.seconds(1, 86400),
        "600",
        "Seconds until an idle connection above the minimum is closed.",
    )
    statement_cache_size: int = variable(
        "DATABASE_STATEMENT_CACHE",
        parsers.whole_number(0, 10_000),
        tiers("100", "100", "256", "256"),
        "Prepared statements per connection; see DATABASE_POOLER for PgBouncer.",
    )
    pooler: Pooler = variable(
        "DATABASE_POOLER",
        parsers.choice(Pooler),
        "none",
        "transaction if DATABASE_URL goes through PgBouncer in transaction mode. If its "
        "max_prepared_statements is 0, the default until 1.24, also set "
        "DATABASE_STATEMENT_CACHE=0.",
    )
    migrate_on_start: bool = variable(
        "MIGRATE_ON_START",
        parsers.boolean,
        "true",
        "Apply migrations before serving. Instances wait for each other.",
    )
    seed_on_start: bool = variable(
        "SEED_ON_START",
        parsers.boolean,
        tiers("true", "true", "false", "false"),
        "Add test data to an empty installation. Must be false in staging and production.",
    )
    embedded_account: str | None = variable(
        "EMBEDDED_ACCOUNT",
        str,
        None,
        "Account that runs the embedded PostgreSQL if the service starts as root. Unset: the "
        "owner of DATA_DIR, postgres or nobody.",
    )


# Variables without a field. They change how the URLs are read.
URL_VARIABLES = (
    Variable(
        "ALLOW_PLAINTEXT_DSN",
        parsers.boolean,
        "false",
        "Accept these URLs with a password in clear in staging and production, with a warning at "
        "each start.",
    ),
    Variable(
        "DATABASE_TLS_MODE",
        parsers.choice(TlsMode),
        None,
        "sslmode for TCP. Unset: that of the URL, else prefer in local and verify-full elsewhere.",
    ),
    Variable(
        "DATABASE_TLS_CA",
        parsers.path,
        None,
        "PEM file of the certificate authorities to trust. Unset: those of the system.",
    ),
    Variable("DATABASE_TLS_CERTIFICATE", parsers.path, None, "PEM file of the client certificate."),
    Variable("DATABASE_TLS_KEY", parsers.path, None, "PEM file of the client key."),
)
