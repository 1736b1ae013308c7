"""Every environment variable, once: parsing, `.env.example` and the README come from here."""

from app.settings import parsers
from app.settings.target import TlsMode, parse_target
from app.settings.variable import LogFormat, Pooler, Tier, Variable, group, tiers

VARIABLES: tuple[Variable, ...] = (
    *group(
        "Process",
        Variable(
            "TIER",
            parsers.choice(Tier),
            "local",
            "local, development, staging or production: what is allowed, and the defaults.",
        ),
        Variable(
            "INSTANCE_ID",
            parsers.text,
            None,
            "Name of this instance in logs, health and ledger; unset: the host's name.",
        ),
        Variable(
            "DATA_DIR",
            parsers.path,
            ".data",
            "Folder of the embedded PostgreSQL, the local admin token and the snapshots on disk.",
        ),
        Variable(
            "SNAPSHOT_ON_DISK",
            parsers.boolean,
            "true",
            "Keep what is served in DATA_DIR, encrypted, to start from while the database is away.",
        ),
        Variable("LOG_LEVEL", parsers.log_level, "info", "debug, info, warning or error."),
        Variable(
            "LOG_FORMAT",
            parsers.choice(LogFormat),
            tiers("console", "json", "json", "json"),
            "console for people, json for machines.",
        ),
    ),
    *group(
        "HTTP",
        Variable("HOST", parsers.text, "127.0.0.1", "Address to listen on."),
        Variable("PORT", parsers.whole_number(1, 65535), "8080", "Port to listen on."),
        Variable(
            "WORKERS",
            parsers.whole_number(1, 64),
            "1",
            "Processes that share the port, each with a pool of its own; about one a core.",
        ),
        Variable(
            "HSTS",
            parsers.boolean,
            "false",
            "Send Strict-Transport-Security; true only behind TLS.",
        ),
        Variable(
            "PUBLIC_URL",
            parsers.web_url,
            None,
            "Where clients reach this service, path prefix included; unset: as the request says.",
        ),
        Variable(
            "CORS_ORIGINS",
            parsers.origins,
            "*",
            "Origins, separated by commas, whose pages may evaluate flags; * for all.",
        ),
        Variable(
            "REQUEST_TIMEOUT",
            parsers.seconds(1, 300),
            "5",
            "Seconds that one request may take once its body is read.",
        ),
        Variable(
            "HEADER_TIMEOUT",
            parsers.seconds(1, 60),
            "10",
            "Seconds that a client may take to send a request's head.",
        ),
        Variable(
            "BODY_TIMEOUT",
            parsers.seconds(1, 300),
            "15",
            "Seconds that a client may take to send a request's body.",
        ),
        Variable(
            "IDLE_TIMEOUT",
            parsers.seconds(1, 3600),
            "75",
            "Seconds that a connection may rest between requests.",
        ),
        Variable(
            "DRAIN_SECONDS",
            parsers.seconds(0, 60),
            tiers("0", "0", "5", "5"),
            "Seconds between failing readiness and closing the listener, on SIGTERM.",
        ),
        Variable(
            "SHUTDOWN_TIMEOUT",
            parsers.seconds(1, 60),
            "8",
            "Seconds that running requests get to finish; aiohttp may spend it twice.",
        ),
        Variable(
            "ACCESS_LOG_SAMPLE",
            parsers.whole_number(0, 1_000_000),
            tiers("1", "1", "100", "100"),
            "Log one of N good reads, 0 for none; writes, refusals and slow ones always.",
        ),
    ),
    *group(
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
            "DATABASE_TLS_MODE",
            parsers.choice(TlsMode),
            None,
            "libpq's sslmode for TCP; unset: the URL's, else prefer in local, verify-full "
            "elsewhere.",
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
            "Prepared statements per connection; 0 for PgBouncer before 1.21.",
        ),
        Variable(
            "DATABASE_POOLER",
            parsers.choice(Pooler),
            "none",
            "transaction when DATABASE_URL leads through PgBouncer in transaction mode.",
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
    ),
    *group(
        "Access",
        Variable(
            "TOKEN_KEY",
            parsers.key_material,
            None,
            "Key of the tokens' MACs, 32 characters or more, the same on every instance; unset "
            "outside staging and production: made in DATA_DIR.",
            secret=True,
        ),
    ),
    *group(
        "Health",
        Variable(
            "HEARTBEAT_INTERVAL",
            parsers.seconds(0.1, 3600),
            "15",
            "Seconds between two rows in health_check, give or take a fifth.",
        ),
        Variable(
            "HEARTBEAT_TIMEOUT",
            parsers.seconds(0.1, 60),
            "2",
            "Seconds after which a heartbeat counts as missed.",
        ),
        Variable(
            "HEARTBEAT_RETENTION",
            parsers.seconds(60, 31_536_000),
            "21600",
            "Seconds that heartbeat rows are kept.",
        ),
    ),
)
