"""Every environment variable, once: parsing, `.env.example` and the README come from here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.settings import parsers
from app.settings.target import TlsMode, parse_target


class Tier(StrEnum):
    LOCAL = "local"
    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class Pooler(StrEnum):
    NONE = "none"
    TRANSACTION = "transaction"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable. `default` is text as an operator would write it, or one text per tier."""

    name: str
    group: str
    help: str
    parse: Callable[[str], Any]
    default: str | Mapping[Tier, str] | None = None
    secret: bool = False

    def default_for(self, tier: Tier) -> str | None:
        if isinstance(self.default, Mapping):
            return self.default.get(tier)
        return self.default


def _tiers(local: str, development: str, staging: str, production: str) -> Mapping[Tier, str]:
    return dict(zip(Tier, (local, development, staging, production), strict=True))


def _group(name: str, *variables: dict[str, Any]) -> tuple[Variable, ...]:
    return tuple(Variable(group=name, **variable) for variable in variables)


VARIABLES: tuple[Variable, ...] = (
    *_group(
        "Process",
        {
            "name": "TIER",
            "parse": parsers.choice(Tier),
            "default": "local",
            "help": "local, development, staging or production: what is allowed, and the defaults.",
        },
        {
            "name": "INSTANCE_ID",
            "parse": parsers.text,
            "help": "Name of this instance in logs, health and ledger; unset: the host's name.",
        },
        {
            "name": "DATA_DIR",
            "parse": parsers.path,
            "default": ".data",
            "help": "Folder of the embedded PostgreSQL and of the local admin token.",
        },
        {
            "name": "LOG_LEVEL",
            "parse": parsers.log_level,
            "default": "info",
            "help": "debug, info, warning or error.",
        },
        {
            "name": "LOG_FORMAT",
            "parse": parsers.choice(LogFormat),
            "default": _tiers("console", "json", "json", "json"),
            "help": "console for people, json for machines.",
        },
    ),
    *_group(
        "HTTP",
        {
            "name": "HOST",
            "parse": parsers.text,
            "default": "127.0.0.1",
            "help": "Address to listen on.",
        },
        {
            "name": "PORT",
            "parse": parsers.whole_number(1, 65535),
            "default": "8080",
            "help": "Port to listen on.",
        },
        {
            "name": "HSTS",
            "parse": parsers.boolean,
            "default": "false",
            "help": "Send Strict-Transport-Security; true only behind TLS.",
        },
        {
            "name": "REQUEST_TIMEOUT",
            "parse": parsers.seconds(1, 300),
            "default": "5",
            "help": "Seconds that one request may take once its body is read.",
        },
        {
            "name": "HEADER_TIMEOUT",
            "parse": parsers.seconds(1, 60),
            "default": "10",
            "help": "Seconds that a client may take to send a request's head.",
        },
        {
            "name": "BODY_TIMEOUT",
            "parse": parsers.seconds(1, 300),
            "default": "15",
            "help": "Seconds that a client may take to send a request's body.",
        },
        {
            "name": "IDLE_TIMEOUT",
            "parse": parsers.seconds(1, 3600),
            "default": "75",
            "help": "Seconds that a connection may rest between requests.",
        },
        {
            "name": "DRAIN_SECONDS",
            "parse": parsers.seconds(0, 60),
            "default": _tiers("0", "0", "5", "5"),
            "help": "Seconds between failing readiness and closing the listener, on SIGTERM.",
        },
        {
            "name": "SHUTDOWN_TIMEOUT",
            "parse": parsers.seconds(1, 60),
            "default": "8",
            "help": "Seconds that running requests get to finish; aiohttp may spend it twice.",
        },
        {
            "name": "ACCESS_LOG_SAMPLE",
            "parse": parsers.whole_number(0, 1_000_000),
            "default": _tiers("1", "1", "100", "100"),
            "help": "Log one of N good reads, 0 for none; writes, refusals and slow ones always.",
        },
    ),
    *_group(
        "Database",
        {
            "name": "DATABASE_URL",
            "parse": parse_target,
            "secret": True,
            "help": "postgresql://user:password@host:port/database of the app role; "
            "unset: the embedded PostgreSQL.",
        },
        {
            "name": "DATABASE_MIGRATOR_URL",
            "parse": parse_target,
            "secret": True,
            "help": "The migrator role, past any pooler; DATABASE_URL if unset.",
        },
        {
            "name": "DATABASE_ADMIN_URL",
            "parse": parse_target,
            "secret": True,
            "help": "A role that may create roles; read by `database provision` alone.",
        },
        {
            "name": "DATABASE_TLS_MODE",
            "parse": parsers.choice(TlsMode),
            "help": "libpq's sslmode for TCP; unset: the URL's, else prefer in local, "
            "verify-full elsewhere.",
        },
        {
            "name": "DATABASE_TLS_CA",
            "parse": parsers.path,
            "help": "PEM file of the authorities to trust; the system's if unset.",
        },
        {
            "name": "DATABASE_TLS_CERTIFICATE",
            "parse": parsers.path,
            "help": "PEM file of the client's certificate.",
        },
        {
            "name": "DATABASE_TLS_KEY",
            "parse": parsers.path,
            "help": "PEM file of the client's key.",
        },
        {
            "name": "DATABASE_POOL_MIN",
            "parse": parsers.whole_number(0, 100),
            "default": _tiers("0", "0", "2", "2"),
            "help": "Connections that are kept open.",
        },
        {
            "name": "DATABASE_POOL_MAX",
            "parse": parsers.whole_number(1, 500),
            "default": _tiers("5", "10", "10", "10"),
            "help": "Most connections; over all processes below 80 % of max_connections.",
        },
        {
            "name": "DATABASE_ACQUIRE_TIMEOUT",
            "parse": parsers.seconds(0.05, 60),
            "default": "1",
            "help": "Seconds to wait for a connection of the pool, making one included; then 503.",
        },
        {
            "name": "DATABASE_CONNECT_TIMEOUT",
            "parse": parsers.seconds(1, 120),
            "default": _tiers("10", "30", "30", "30"),
            "help": "Seconds for all attempts on all hosts together.",
        },
        {
            "name": "DATABASE_HOST_TIMEOUT",
            "parse": parsers.seconds(0.1, 60),
            "default": "5",
            "help": "Seconds for one attempt on one host.",
        },
        {
            "name": "DATABASE_CONNECT_ATTEMPTS",
            "parse": parsers.whole_number(1, 10),
            "default": "3",
            "help": "Attempts, with backoff; never repeated for a wrong password or failed TLS.",
        },
        {
            "name": "DATABASE_COMMAND_TIMEOUT",
            "parse": parsers.seconds(0.1, 300),
            "default": "1.4",
            "help": "Seconds for one statement. Giving up costs as much again, so a write "
            "against a frozen server answers in 2.8 s.",
        },
        {
            "name": "DATABASE_LOCK_TIMEOUT",
            "parse": parsers.seconds(0.05, 60),
            "default": "1",
            "help": "Seconds to wait for a lock; below the command timeout.",
        },
        {
            "name": "DATABASE_IDLE_TIMEOUT",
            "parse": parsers.seconds(1, 86400),
            "default": "600",
            "help": "Seconds after which an idle connection above the minimum is closed.",
        },
        {
            "name": "DATABASE_STATEMENT_CACHE",
            "parse": parsers.whole_number(0, 10_000),
            "default": _tiers("100", "100", "256", "256"),
            "help": "Prepared statements per connection; 0 for PgBouncer before 1.21.",
        },
        {
            "name": "DATABASE_POOLER",
            "parse": parsers.choice(Pooler),
            "default": "none",
            "help": "transaction when DATABASE_URL leads through PgBouncer in transaction mode.",
        },
        {
            "name": "MIGRATE_ON_START",
            "parse": parsers.boolean,
            "default": "true",
            "help": "Migrate before serving; instances wait for each other.",
        },
        {
            "name": "SEED_ON_START",
            "parse": parsers.boolean,
            "default": _tiers("true", "true", "false", "false"),
            "help": "Add test data to an empty installation; refused in staging and production.",
        },
        {
            "name": "EMBEDDED_ACCOUNT",
            "parse": parsers.text,
            "help": "Account that runs the embedded PostgreSQL when started as root; "
            "unset: DATA_DIR's owner, postgres or nobody.",
        },
    ),
    *_group(
        "Access",
        {
            "name": "TOKEN_KEY",
            "parse": parsers.key_material,
            "secret": True,
            "help": "Key of the tokens' MACs, 32 characters or more, the same on every instance; "
            "unset outside staging and production: made in DATA_DIR.",
        },
    ),
    *_group(
        "Health",
        {
            "name": "HEARTBEAT_INTERVAL",
            "parse": parsers.seconds(0.1, 3600),
            "default": "15",
            "help": "Seconds between two rows in health_check, give or take a fifth.",
        },
        {
            "name": "HEARTBEAT_TIMEOUT",
            "parse": parsers.seconds(0.1, 60),
            "default": "2",
            "help": "Seconds after which a heartbeat counts as missed.",
        },
        {
            "name": "HEARTBEAT_RETENTION",
            "parse": parsers.seconds(60, 31_536_000),
            "default": "21600",
            "help": "Seconds that heartbeat rows are kept.",
        },
    ),
)
