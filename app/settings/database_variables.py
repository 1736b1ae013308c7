"""The environment variables of the database; see `variables.py` for the others."""

from app.settings import parsers
from app.settings.target import TlsMode, parse_target
from app.settings.variable import Pooler, Variable, group, tiers

DATABASE_VARIABLES: tuple[Variable, ...] = group(
    "Database",
    Variable(
        "DATABASE_URL",
        parse_target,
        None,
        "postgresql://user:password@host:port/database of the app role; unset: the embedded "
        "PostgreSQL.",
        secret=True,
    ),
    Variable(
        "DATABASE_MIGRATOR_URL",
        parse_target,
        None,
        "The migrator role, past any pooler; DATABASE_URL if unset.",
        secret=True,
    ),
    Variable(
        "DATABASE_ADMIN_URL",
        parse_target,
        None,
        "A role that may create roles; read by `database provision` alone.",
        secret=True,
    ),
    Variable(
        "DATABASE_BACKUP_URL",
        parse_target,
        None,
        "The backup role, which reads everything, past any pooler; the migrator's way if unset.",
        secret=True,
    ),
    Variable(
        "ALLOW_PLAINTEXT_DSN",
        parsers.boolean,
        "false",
        "Take these URLs with a password in clear in staging and production too, with a warning at "
        "each start; where secrets can come as variables alone.",
    ),
    Variable(
        "DATABASE_TLS_MODE",
        parsers.choice(TlsMode),
        None,
        "libpq's sslmode for TCP; unset: the URL's, else prefer in local, verify-full elsewhere.",
    ),
    Variable(
        "DATABASE_TLS_CA",
        parsers.path,
        None,
        "PEM file of the authorities to trust; the system's if unset.",
    ),
    Variable(
        "DATABASE_TLS_CERTIFICATE", parsers.path, None, "PEM file of the client's certificate."
    ),
    Variable("DATABASE_TLS_KEY", parsers.path, None, "PEM file of the client's key."),
    Variable(
        "DATABASE_POOL_MIN",
        parsers.whole_number(0, 100),
        tiers("0", "0", "2", "2"),
        "Connections that are kept open.",
    ),
    Variable(
        "DATABASE_POOL_MAX",
        parsers.whole_number(1, 500),
        tiers("5", "10", "10", "10"),
        "Most connections; over all processes below 80 % of max_connections.",
    ),
    Variable(
        "DATABASE_ACQUIRE_TIMEOUT",
        parsers.seconds(0.05, 60),
        "1",
        "Seconds to wait for a connection of the pool, making one included; then 503.",
    ),
    Variable(
        "DATABASE_CONNECT_TIMEOUT",
        parsers.seconds(1, 120),
        tiers("10", "30", "30", "30"),
        "Seconds for all attempts on all hosts together.",
    ),
    Variable(
        "DATABASE_HOST_TIMEOUT",
        parsers.seconds(0.1, 60),
        "5",
        "Seconds for one attempt on one host.",
    ),
    Variable(
        "DATABASE_CONNECT_ATTEMPTS",
        parsers.whole_number(1, 10),
        "3",
        "Attempts, with backoff; never repeated for a wrong password or failed TLS.",
    ),
    Variable(
        "DATABASE_COMMAND_TIMEOUT",
        parsers.seconds(0.1, 300),
        "1.4",
        "Seconds for one statement. Giving up costs as much again, so a write against a "
        "frozen server answers in 2.8 s.",
    ),
    Variable(
        "DATABASE_LOCK_TIMEOUT",
        parsers.seconds(0.05, 60),
        "1",
        "Seconds to wait for a lock; below the command timeout.",
    ),
    Variable(
        "DATABASE_IDLE_TIMEOUT",
        parsers.seconds(1, 86400),
        "600",
        "Seconds after which an idle connection above the minimum is closed.",
    ),
    Variable(
        "DATABASE_STATEMENT_CACHE",
        parsers.whole_number(0, 10_000),
        tiers("100", "100", "256", "256"),
        "Prepared statements per connection; 0 if PgBouncer keeps none: see DATABASE_POOLER.",
    ),
    Variable(
        "DATABASE_POOLER",
        parsers.choice(Pooler),
        "none",
        "transaction when DATABASE_URL leads through PgBouncer in transaction mode; with its "
        "max_prepared_statements at 0, the default until 1.24, also DATABASE_STATEMENT_CACHE=0.",
    ),
    Variable(
        "MIGRATE_ON_START",
        parsers.boolean,
        "true",
        "Migrate before serving; instances wait for each other.",
    ),
    Variable(
        "SEED_ON_START",
        parsers.boolean,
        tiers("true", "true", "false", "false"),
        "Add test data to an empty installation; refused in staging and production.",
    ),
    Variable(
        "EMBEDDED_ACCOUNT",
        parsers.text,
        None,
        "Account that runs the embedded PostgreSQL when started as root; unset: DATA_DIR's "
        "owner, postgres or nobody.",
    ),
)
