"""Every environment variable, once: parsing, `.env.example` and the README come from here."""

from app.settings import parsers
from app.settings.database_variables import DATABASE_VARIABLES
from app.settings.variable import LogFormat, Tier, Variable, group, tiers

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
            "Folder of the embedded PostgreSQL, the local token and key ring, and the snapshots.",
        ),
        Variable(
            "SNAPSHOT_ON_DISK",
            parsers.boolean,
            "true",
            "Keep what is served in DATA_DIR, encrypted, to start from while the database is away.",
        ),
        Variable(
            "IDENTITY_FILE",
            parsers.path,
            None,
            "File of the age identity that opens sealed settings, closed to group and others; a "
            "credential flagstone-identity of systemd goes before it.",
        ),
        Variable(
            "IDENTITY_COMMAND",
            parsers.text,
            None,
            "Program and arguments that print the identity within 10 s, where there is no file.",
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
        Variable(
            "HOST",
            parsers.hosts,
            "127.0.0.1",
            "Addresses or host names to listen on, with commas between. `0.0.0.0` is every IPv4 "
            "address, `::` every IPv6 address and no IPv4 one, `*` both. `unix:` is not supported.",
        ),
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
            "TRUSTED_PROXIES",
            parsers.networks,
            None,
            "Networks, separated by commas, of proxies whose X-Forwarded-For is believed.",
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
            "Seconds that a client may take to send a request's body; a third of it for a pause.",
        ),
        Variable(
            "BODIES_MAX_MIB",
            parsers.whole_number(16, 65_536),
            "64",
            "MiB that the bodies of all running requests may take in each process.",
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
            "REQUEST_LOG_SAMPLE",
            parsers.whole_number(0, 1_000_000),
            tiers("1", "1", "100", "100"),
            "Log one of N good reads and of N refusals, 0 for none; the rest always.",
        ),
    ),
    *DATABASE_VARIABLES,
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
        Variable(
            "ACCESS_LOG_STDOUT",
            parsers.boolean,
            tiers("false", "true", "true", "true"),
            "Write the access log to standard output too, in lines of JSON; other lines go to "
            "standard error.",
        ),
        Variable(
            "AUDIT_HEADS_FILE",
            parsers.path,
            None,
            "File to which signed heads of the history are added each minute; better on a machine "
            "that who owns the tables cannot reach. Unset: audit-heads.jsonl in DATA_DIR.",
        ),
    ),
    *group(
        "Secrets",
        Variable(
            "KEY_RING",
            parsers.secret_text,
            None,
            "Key-encryption keys, the same on every instance; a file is read anew when it changes. "
            "Unset in local: made in DATA_DIR.",
            secret=True,
        ),
        Variable(
            "KEY_COMMAND",
            parsers.path,
            None,
            "Executable that wraps and unwraps data keys, instead of a key ring.",
        ),
    ),
    *group(
        "Backups",
        Variable(
            "BACKUP_DIR",
            parsers.path,
            None,
            "Folder of the backups, better on another disk; unset: DATA_DIR/backups.",
        ),
        Variable(
            "BACKUP_RECIPIENTS",
            parsers.recipients,
            None,
            "Recipients, age1…, separated by commas, whose identities open the backups; unset in "
            "local: one whose identity is made in DATA_DIR.",
        ),
        Variable(
            "BACKUP_KEEP",
            parsers.whole_number(1, 10_000),
            "14",
            "Backups that pruning keeps.",
        ),
        Variable(
            "BACKUP_INTERVAL",
            parsers.pause(60, 31_536_000),
            "0",
            "Seconds between two backups that the service makes by itself; 0 for none.",
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
