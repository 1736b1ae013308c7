"""Settings: every mistake in one message that names the variable and the rule, never the value."""

import logging
import os
import re
import traceback
from collections import Counter
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values

from app.settings import LogFormat, Pooler, SettingsError, Tier, TlsMode, load
from app.settings.reference import chart_names, env_example, table
from app.settings.variables import VARIABLES
from tests.paths import ROOT

CANARY = "canary7f3a"
PASSWORD = f"{CANARY}-Hx7qWvZ2"
KEY = "k" * 32
# The settings that staging and production require.
REQUIRED = {"DATABASE_URL": "postgresql://app@db/flagstone", "TOKEN_KEY": KEY}
STRICT = ("staging", "production")
URLS = ("DATABASE_URL", "DATABASE_MIGRATOR_URL", "DATABASE_ADMIN_URL", "DATABASE_BACKUP_URL")
SECRETS = (
    *(*URLS, "TOKEN_KEY", "OIDC_CLIENT_SECRET", "KEY_RING", "RELAY_TOKEN"),
    *("GRPC_TOKEN", "GRPC_CLIENTS"),
    "OTEL_EXPORTER_OTLP_HEADERS",
)
# Settings without which a secret is refused, because it would be ignored.
NEEDED = {
    "OIDC_ISSUER": "https://id.example.org",
    "OIDC_CLIENT_ID": "flagstone",
    "PUBLIC_URL": "https://flags.example.org",
}
GOOD_SECRETS = {
    "DATABASE_URL": f"postgresql://app:{PASSWORD}@db/flagstone",
    "DATABASE_MIGRATOR_URL": f"postgresql://migrator:{PASSWORD}@db/flagstone",
    "DATABASE_ADMIN_URL": f"postgresql://admin:{PASSWORD}@db/flagstone",
    "DATABASE_BACKUP_URL": f"postgresql://backup:{PASSWORD}@db/flagstone",
    "TOKEN_KEY": CANARY * 4,
    "OIDC_CLIENT_SECRET": CANARY,
    "KEY_RING": CANARY,
    "RELAY_TOKEN": CANARY * 4,
    "GRPC_TOKEN": CANARY,
    "GRPC_CLIENTS": f"shop={CANARY}",
    "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={CANARY}",
}


def refusal(environ: Mapping[str, str]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return caught.value


# One mistake


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("TIER", CANARY, "must be one of local, development, staging, production"),
        ("LOG_LEVEL", CANARY, "must be debug, info, warning or error"),
        ("LOG_LEVEL", "critical", "must be debug, info, warning or error"),
        ("LOG_FORMAT", CANARY, "must be one of console, json"),
        ("HSTS", CANARY, "must be true or false"),
        ("HSTS", "2", "must be true or false"),
        ("REQUEST_TIMEOUT", CANARY, "must be a number of seconds from 1 to 300"),
        ("REQUEST_TIMEOUT", "0.99", "must be a number of seconds from 1 to 300"),
        ("REQUEST_TIMEOUT", "300.1", "must be a number of seconds from 1 to 300"),
        ("REQUEST_TIMEOUT", "nan", "must be a number of seconds from 1 to 300"),
        ("REQUEST_TIMEOUT", "inf", "must be a number of seconds from 1 to 300"),
        ("DATABASE_URL", CANARY, "must start with postgresql://"),
        ("DATABASE_URL", f"mysql://u:{CANARY}@h/d", "must start with postgresql://"),
        ("DATABASE_URL", f"postgresql://:{CANARY}@h/d", "must name a user"),
        ("DATABASE_ADMIN_URL", f"postgresql://u:{CANARY}@h", "must name a database"),
        ("DATABASE_TLS_MODE", "allow", ", ".join(TlsMode)),
        ("DATABASE_POOLER", CANARY, "must be one of none, transaction"),
        ("DATABASE_TLS_KEY", __file__, "must be set together with DATABASE_TLS_CERTIFICATE"),
        ("DATABASE_TLS_CA", CANARY, "must name a file that can be read"),
        ("TOKEN_KEY", CANARY, "must have at least 32 characters"),
        ("TOKEN_KEY", "k" * 31, "must have at least 32 characters"),
    ],
)
def test_mistake_is_named_with_its_rule_without_the_value(name: str, value: str, rule: str) -> None:
    error = refusal({name: value})

    ((named, message),) = error.problems
    assert named == name
    assert rule in message
    assert f"{name}: {message}" in str(error)
    assert CANARY not in str(error)


def test_certificate_without_its_key_is_refused() -> None:
    error = refusal({"DATABASE_TLS_CERTIFICATE": __file__})

    assert error.problems == [
        ("DATABASE_TLS_KEY", "must be set together with DATABASE_TLS_CERTIFICATE")
    ]


@pytest.mark.parametrize("name", ["DATA_DIR", "DATABASE_TLS_CA"])
def test_missing_home_folder_is_reported_as_a_mistake(name: str) -> None:
    error = refusal({name: f"~{CANARY}/folder"})

    assert [problem[0] for problem in error.problems] == [name]
    assert CANARY not in str(error)


def test_home_folder_is_expanded() -> None:
    settings = load({"DATA_DIR": "~/data"})

    assert settings.data_dir == Path.home() / "data"


@pytest.mark.parametrize(
    "port", ["0", "65536", "-1", "+1", "80 80", "8_0", "80.0", "1e3", "0x50", "٣", "²", "9" * 5_000]
)
def test_port_outside_its_range_is_refused(port: str) -> None:
    error = refusal({"PORT": port})

    assert error.problems == [("PORT", "must be a whole number from 1 to 65535")]


@pytest.mark.parametrize(("port", "number"), [("1", 1), ("65535", 65535), (" 8080\n", 8080)])
def test_port_within_its_range_is_accepted(port: str, number: int) -> None:
    settings = load({"PORT": port})

    assert settings.http.port == number


@pytest.mark.parametrize("port", ["0", "65536", "-1", "p", "٣", "9" * 5_000])
@pytest.mark.parametrize("name", URLS)
def test_port_of_a_url_outside_its_range_is_refused(name: str, port: str) -> None:
    error = refusal({name: f"postgresql://u:{CANARY}@h:{port}/d"})

    assert error.problems == [(name, "must have ports from 1 to 65535")]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("TRUE", True), ("yes", True), ("On", True), ("0", False), ("off", False)],
)
def test_true_and_false_have_their_usual_spellings(text: str, value: object) -> None:
    settings = load({"HSTS": text})

    assert settings.http.hsts is value


# Sign-in


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"OIDC_ISSUER": "id.example.org"}, ("OIDC_ISSUER", "must be an http or https URL")),
        (
            {"OIDC_ISSUER": "http://id.example.org"},
            ("OIDC_ISSUER", "must begin with https://, except for a provider on this machine"),
        ),
        (
            {"OIDC_ISSUER": "https://id.example.org/?"},
            ("OIDC_ISSUER", "must not have a query or a fragment"),
        ),
        (
            {"OIDC_ISSUER": "https://id.example.org/#a"},
            ("OIDC_ISSUER", "must not have a query or a fragment"),
        ),
        ({"OIDC_ISSUER": "https://id example.org"}, ("OIDC_ISSUER", "must not contain a space")),
        (
            {"OIDC_ISSUER": "https://id.example.org/.well-known/openid-configuration"},
            (
                "OIDC_ISSUER",
                "must not end with /.well-known/openid-configuration: the service adds it",
            ),
        ),
        (
            {"OIDC_ISSUER": "https://id.example.org/" + "a" * 255},
            ("OIDC_ISSUER", "must have at most 255 characters"),
        ),
        (
            {"OIDC_CLIENT_ID": "\x7f"},
            ("OIDC_CLIENT_ID", "must have 1 to 255 printable ASCII characters"),
        ),
        ({"OIDC_CLIENT_ID": ""}, ("OIDC_CLIENT_ID", "is required with OIDC_ISSUER")),
        (
            {"PUBLIC_URL": ""},
            (
                "PUBLIC_URL",
                "is required with OIDC_ISSUER: the provider sends people back to it",
            ),
        ),
        (
            {"PUBLIC_URL": "http://flags.example.org"},
            (
                "PUBLIC_URL",
                "must begin with https:// when OIDC_ISSUER is set, except on loopback",
            ),
        ),
        ({"OIDC_SCOPES": "profile"}, ("OIDC_SCOPES", "must contain openid")),
        (
            {"OIDC_SCOPES": 'openid "x"'},
            (
                "OIDC_SCOPES",
                "must be scopes separated by spaces, with at most 1000 characters",
            ),
        ),
        (
            {"OIDC_GROUPS_CLAIM": "g" * 256},
            ("OIDC_GROUPS_CLAIM", "must be the name of a claim, with at most 255 characters"),
        ),
    ],
)
def test_mistake_of_the_sign_in_is_named(changes: dict[str, str], problem: tuple[str, str]) -> None:
    assert problem in refusal({**NEEDED, **changes}).problems


def test_client_without_an_issuer_is_refused() -> None:
    error = refusal({"OIDC_CLIENT_ID": CANARY, "OIDC_CLIENT_SECRET": CANARY})

    rule = "must not be set without OIDC_ISSUER"
    assert error.problems == [("OIDC_CLIENT_ID", rule), ("OIDC_CLIENT_SECRET", rule)]


def test_invalid_issuer_does_not_count_as_unset() -> None:
    error = refusal({"OIDC_ISSUER": "http://id.example.org", "OIDC_CLIENT_ID": "flagstone"})

    assert [name for name, _ in error.problems] == ["OIDC_ISSUER"]


def test_issuer_is_stored_as_it_was_written() -> None:
    settings = load({**NEEDED, "OIDC_ISSUER": "https://id.example.org/"})

    assert settings.oidc.issuer == "https://id.example.org/"
    assert settings.oidc.scopes == ("openid", "profile", "email")
    assert load({}).oidc.issuer is None


def test_provider_on_this_machine_needs_no_tls() -> None:
    local = {"OIDC_ISSUER": "http://localhost:9000", "PUBLIC_URL": "http://127.0.0.1:8080"}

    assert load({**NEEDED, **local}).oidc.issuer == "http://localhost:9000"


# Several mistakes


def test_every_mistake_comes_in_one_message_without_any_value() -> None:
    free = {"INSTANCE_ID", "DATA_DIR", "HOST", "EMBEDDED_ACCOUNT", "KEY_RING", "AUDIT_HEADS_FILE"}
    # Only read if a setting is sealed: see tests/unit/settings/test_sealed_settings.py.
    free |= {"IDENTITY_FILE", "IDENTITY_COMMAND", "BACKUP_DIR"}
    free |= {"GRPC_HOST", "GRPC_SOCKET", "GRPC_TLS_CERTIFICATE", "GRPC_TLS_CLIENT_CA"}
    # Not reported together with GRPC_TLS_CERTIFICATE.
    free |= {"GRPC_TOKEN", "GRPC_TLS_KEY"}
    free |= {"OTEL_EXPORTER_OTLP_HEADERS", "OIDC_GROUPS_CLAIM"}
    # Their only rule needs a valid OIDC_ISSUER.
    free |= {"OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"}

    error = refusal({variable.name: CANARY for variable in VARIABLES})

    expected = Counter(variable.name for variable in VARIABLES if variable.name not in free)
    assert Counter(name for name, _ in error.problems) == expected
    assert all(f"  {name}: {rule}" in str(error) for name, rule in error.problems)
    assert CANARY not in str(error)


def test_all_kinds_of_mistakes_are_reported_together(tmp_path: Path) -> None:
    error = refusal(
        {
            "TIER": "production",
            "PORT": "0",
            "DATABASE_POOL_MIN": "9",
            "DATABASE_POOL_MAX": "8",
            "DATABASE_URL_FILE": str(tmp_path / "missing"),
            "SEED_ON_START": "true",
        }
    )

    assert sorted(name for name, _ in error.problems) == [
        "DATABASE_POOL_MIN",
        "DATABASE_URL",
        "PORT",
        "SEED_ON_START",
        "TOKEN_KEY",
    ]


def test_key_command_is_executable_and_excludes_key_ring(tmp_path: Path) -> None:
    command = tmp_path / "kms"
    command.touch(mode=0o600)

    unusable = refusal({"KEY_COMMAND": str(command)})
    command.chmod(0o700)
    both = refusal({"KEY_COMMAND": str(command), "KEY_RING": CANARY})
    alone = load({"KEY_COMMAND": str(command)})

    assert unusable.problems == [("KEY_COMMAND", "must name a file that can be executed")]
    assert both.problems == [("KEY_COMMAND", "must not be set together with KEY_RING")]
    assert alone.keys.command == command


CERTIFICATE = {"GRPC_TLS_CERTIFICATE": "/chain.pem", "GRPC_TLS_KEY": "/key.pem"}
MUTUAL = {**CERTIFICATE, "GRPC_TLS_CLIENT_CA": "/ca.pem"}


@pytest.mark.parametrize(
    ("given", "name", "rule"),
    [
        ({"GRPC_HOST": "0.0.0.0"}, "GRPC_ACCESS", "must not be local when GRPC_HOST is not a"),  # noqa: S104
        ({"GRPC_HOST": "127.0.0.1,::"}, "GRPC_ACCESS", "must not be local when GRPC_HOST is not a"),
        ({"GRPC_HOST": "sync.internal"}, "GRPC_ACCESS", "must not be local when GRPC_HOST is not"),
        ({"GRPC_HOST": "*"}, "GRPC_ACCESS", "must not be local when GRPC_HOST is not a loopback"),
        ({"GRPC_ACCESS": "token"}, "GRPC_TOKEN", "is required when GRPC_ACCESS is token"),
        (
            {"GRPC_ACCESS": "certificate", **MUTUAL},
            "GRPC_CLIENTS",
            "is required when GRPC_ACCESS is certificate",
        ),
        (
            {"GRPC_ACCESS": "certificate", **CERTIFICATE, "GRPC_CLIENTS": "shop=t"},
            "GRPC_TLS_CLIENT_CA",
            "is required when GRPC_ACCESS is certificate",
        ),
        ({"GRPC_TLS_KEY": "/key.pem"}, "GRPC_TLS_KEY", "must be set together with"),
        ({"GRPC_TLS_CLIENT_CA": "/ca.pem"}, "GRPC_TLS_CLIENT_CA", "must not be set without"),
        ({"GRPC_CLIENTS": "shop"}, "GRPC_CLIENTS", "must be NAME=TOKEN, separated by commas"),
        ({"GRPC_CLIENTS": "shop=a,shop=b"}, "GRPC_CLIENTS", "must be NAME=TOKEN, separated by"),
        ({"GRPC_SOCKET": "/x" * 54}, "GRPC_SOCKET", "must have an absolute path of at most 107"),
        ({"GRPC_PORT": "8080"}, "GRPC_PORT", "must not be PORT"),
    ],
)
def test_unsafe_flagd_sync_is_refused(given: dict[str, str], name: str, rule: str) -> None:
    ((problem, reason),) = refusal({"GRPC_PORT": "8015", **given}).problems

    assert problem == name
    assert reason.startswith(rule)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"GRPC_HOST": "127.0.0.5,::1,localhost"},
        {"GRPC_HOST": "*", "GRPC_ACCESS": "bearer"},
        {"GRPC_HOST": "*", "GRPC_ACCESS": "token", "GRPC_TOKEN": "t"},
        {"GRPC_HOST": "*", "GRPC_ACCESS": "certificate", "GRPC_CLIENTS": "shop=t", **MUTUAL},
    ],
)
def test_safe_flagd_sync_is_accepted(given: dict[str, str]) -> None:
    settings = load({"GRPC_PORT": "8015", **given})

    assert settings.grpc.is_on
    assert not load({}).grpc.is_on


def test_key_ring_file_path_is_retained_for_reloading(tmp_path: Path) -> None:
    file = tmp_path / "ring"
    file.write_text("a ring")

    settings = load({"KEY_RING_FILE": str(file)})

    assert settings.keys.ring is not None
    assert (settings.keys.ring.reveal(), settings.keys.ring_file) == ("a ring", file)


def test_unreadable_variable_is_not_also_reported_missing() -> None:
    error = refusal({"TIER": "staging", "DATABASE_URL": CANARY, "TOKEN_KEY": CANARY})

    assert [name for name, _ in error.problems] == ["DATABASE_URL", "TOKEN_KEY"]


def test_no_value_is_in_the_traceback() -> None:
    """A container's log shows the whole chain of exceptions, not only the last message."""
    error = refusal({variable.name: CANARY for variable in VARIABLES})

    shown = "".join(traceback.format_exception(error))
    assert "The settings are invalid" in shown
    assert CANARY not in shown


def test_settings_show_no_secret() -> None:
    settings = load({**NEEDED, **GOOD_SECRETS})

    shown = f"{settings} {settings!r} {settings.access.token_key}"
    assert CANARY not in shown
    assert settings.access.token_key is not None
    assert settings.access.token_key.reveal() == CANARY * 4


# Empty and unset


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_empty_counts_as_unset(empty: str) -> None:
    names = [variable.name for variable in VARIABLES]

    settings = load(dict.fromkeys([*names, *(f"{name}_FILE" for name in names)], empty))

    assert settings == load({})


def test_empty_variable_does_not_meet_a_requirement() -> None:
    error = refusal({"TIER": "production", **dict.fromkeys(REQUIRED, " ")})

    assert [name for name, _ in error.problems] == list(REQUIRED)


def test_space_around_a_value_is_not_part_of_it() -> None:
    settings = load({"TIER": " Development ", "LOG_LEVEL": "DEBUG\n"})

    assert (settings.tier, settings.log.level) == (Tier.DEVELOPMENT, logging.DEBUG)


def test_foreign_variable_is_ignored() -> None:
    settings = load({"PATH": CANARY, "PORTS": CANARY, "LOG_LEVEL_FILE": CANARY})

    assert settings == load({})


# NAME_FILE


def test_exactly_the_secrets_may_come_from_files() -> None:
    secret = tuple(variable.name for variable in VARIABLES if variable.secret)

    assert secret == SECRETS


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n", " \n\n"])
def test_file_variable_is_read(tmp_path: Path, name: str, ending: str) -> None:
    """`echo secret > file` adds a line break, which is not part of the secret."""
    file = tmp_path / "secret"
    file.write_bytes((GOOD_SECRETS[name] + ending).encode())

    # These are refused alone: they would be ignored.
    is_alone = "MIGRATOR" not in name and "BACKUP" not in name
    beside = NEEDED if is_alone else {"DATABASE_URL": GOOD_SECRETS["DATABASE_URL"]}

    from_file = load({**beside, f"{name}_FILE": str(file)})

    direct = load({**beside, name: GOOD_SECRETS[name]})
    assert from_file.database == direct.database
    key, expected = from_file.access.token_key, direct.access.token_key
    assert (key and key.reveal()) == (expected and expected.reveal())


@pytest.mark.parametrize("name", SECRETS)
def test_variable_and_its_file_must_not_both_be_set(tmp_path: Path, name: str) -> None:
    file = tmp_path / CANARY
    file.write_text(GOOD_SECRETS[name])

    error = refusal({name: GOOD_SECRETS[name], f"{name}_FILE": str(file)})

    assert error.problems == [(name, f"must not be set together with {name}_FILE")]
    assert CANARY not in str(error)


FILE_RULE = "must name a readable file of 1 to 131072 bytes"


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"k" * 131_073])
def test_empty_or_missing_file_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = tmp_path / CANARY
    if content is not None:
        file.write_bytes(content)

    error = refusal({f"{name}_FILE": str(file)})

    assert error.problems == [(name, f"{name}_FILE {FILE_RULE}")]
    assert CANARY not in str(error)


@pytest.mark.timeout(60)
def test_path_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """Reading the pipe would block, and the device has no end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (str(tmp_path), str(pipe), "/dev/zero"):
        error = refusal({"TOKEN_KEY_FILE": path})

        assert error.problems == [("TOKEN_KEY", f"TOKEN_KEY_FILE {FILE_RULE}")]


def test_file_content_must_be_valid_and_is_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"mysql://u:{CANARY}@h/d")

    error = refusal({"DATABASE_URL_FILE": str(file)})

    assert error.problems == [("DATABASE_URL", "must start with postgresql://")]


def test_variable_with_empty_file_variable_is_accepted() -> None:
    settings = load({"TOKEN_KEY": KEY, "TOKEN_KEY_FILE": ""})

    assert settings.access.token_key is not None


# Tiers


@pytest.mark.parametrize(
    ("tier", "pool", "connect_seconds"),
    [
        ("local", (0, 5), 10),
        ("development", (0, 10), 30),
        ("staging", (2, 10), 30),
        ("production", (2, 10), 30),
    ],
)
def test_each_tier_has_its_pool(tier: str, pool: tuple[int, int], connect_seconds: float) -> None:
    database = load({"TIER": tier, **REQUIRED}).database

    assert (database.pool_min, database.pool_max) == pool
    assert database.connect_timeout_seconds == connect_seconds
    assert (database.idle_timeout_seconds, database.connect_attempts) == (600, 3)
    assert database.pooler is Pooler.NONE


@pytest.mark.parametrize("tier", list(Tier))
def test_each_tier_has_its_defaults(tier: Tier) -> None:
    settings = load({"TIER": tier, **REQUIRED})

    strict = tier in STRICT
    log_format = LogFormat.CONSOLE if tier is Tier.LOCAL else LogFormat.JSON
    assert (settings.tier, settings.log.format, settings.warnings) == (tier, log_format, ())
    assert settings.database.seed_on_start is not strict
    assert settings.database.statement_cache_size == (256 if strict else 100)
    assert settings.http.drain_seconds == (5 if strict else 0)
    assert settings.http.request_log_sample == (100 if strict else 1)


def test_default_tier_is_local() -> None:
    settings = load({})

    assert settings.tier is Tier.LOCAL
    assert settings.database.target is None
    assert settings.access.token_key is None
    assert settings.instance
    assert settings.data_dir.is_absolute()


@pytest.mark.parametrize("tier", ["local", "development"])
def test_embedded_database_is_allowed_in_development_tiers(tier: str) -> None:
    settings = load({"TIER": tier})

    assert settings.database.target is None


@pytest.mark.parametrize("tier", STRICT)
@pytest.mark.parametrize("name", list(REQUIRED))
def test_strict_tiers_require_a_database_and_a_key(tier: str, name: str) -> None:
    error = refusal({"TIER": tier, **REQUIRED, name: ""})

    assert [problem[0] for problem in error.problems] == [name]
    assert f"is required in {tier}" in str(error)


RECIPIENT = "age10gfezeekday7a39q0axxj7hke0kh05l42wzzyxk860dm5sz6py9sqdm0pf"
OTHER_RECIPIENT = "age1n9lxx5ufugjs2wa3uq5gzzcayyu9hcqp5mcctkkemsmgdsjttaqq9htwl4"


def test_recipients_of_backups_are_each_taken_once() -> None:
    settings = load({"BACKUP_RECIPIENTS": f"{RECIPIENT}, {OTHER_RECIPIENT.upper()},{RECIPIENT}"})

    assert settings.backups.recipients == tuple(sorted({RECIPIENT, OTHER_RECIPIENT}))


@pytest.mark.parametrize("text", [CANARY, f"{RECIPIENT},", f"{RECIPIENT} {OTHER_RECIPIENT}"])
def test_invalid_recipient_is_refused(text: str) -> None:
    error = refusal({"BACKUP_RECIPIENTS": text})

    rule = "must be 1 to 32 age recipients, age1…, separated by commas"
    assert error.problems == [("BACKUP_RECIPIENTS", rule)]


@pytest.mark.parametrize("text", ["59", "-1", "nan", CANARY])
def test_interval_is_zero_or_above_its_minimum(text: str) -> None:
    error = refusal({"BACKUP_INTERVAL": text})

    rule = "must be 0, or a number of seconds from 60 to 3.1536e+07"
    assert error.problems == [("BACKUP_INTERVAL", rule)]
    assert load({"BACKUP_INTERVAL": "0"}).backups.interval_seconds == 0
    assert load({"BACKUP_INTERVAL": "60"}).backups.interval_seconds == 60


@pytest.mark.parametrize("tier", ["development", *STRICT])
def test_backups_that_are_made_by_themselves_need_a_recipient(tier: str) -> None:
    environ = {"TIER": tier, **REQUIRED, "BACKUP_INTERVAL": "3600"}

    error = refusal(environ)

    rule = f"is required in {tier} when BACKUP_INTERVAL is set"
    assert error.problems == [("BACKUP_RECIPIENTS", rule)]
    assert load(environ | {"BACKUP_RECIPIENTS": RECIPIENT}).backups.recipients == (RECIPIENT,)
    assert load(environ | {"TIER": "local"}).backups.recipients == ()


def test_drill_needs_an_identity_outside_of_local(tmp_path: Path) -> None:
    file = tmp_path / "identity"
    environ = {"TIER": "development", "BACKUP_VERIFY_INTERVAL": "86400"}
    name = "BACKUP_VERIFY_IDENTITY"

    missing, unreadable = refusal(environ), refusal(environ | {name: str(file)})
    file.touch()

    rule = "is required in development when BACKUP_VERIFY_INTERVAL is set"
    assert missing.problems == [(name, rule)]
    assert unreadable.problems == [(name, "must name a file that can be read")]
    assert load(environ | {name: str(file)}).backups.verify_identity == file
    assert load({"BACKUP_VERIFY_INTERVAL": "86400"}).backups.verify_identity is None


def test_default_backup_folder_is_in_the_data_folder() -> None:
    assert load({"DATA_DIR": "/srv/data"}).backups.folder == Path("/srv/data/backups")
    assert load({"BACKUP_DIR": "/mnt/far"}).backups.folder == Path("/mnt/far")


@pytest.mark.parametrize("tier", STRICT)
def test_strict_tiers_refuse_test_data(tier: str) -> None:
    error = refusal({"TIER": tier, **REQUIRED, "SEED_ON_START": "true"})

    assert [name for name, _ in error.problems] == ["SEED_ON_START"]


@pytest.mark.parametrize("tier", STRICT)
@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{PASSWORD}@h/d",
        f"postgresql://u@h/d?password={PASSWORD}",
        f"postgresql://u:{PASSWORD}@%2Frun,h/d",
    ],
)
def test_strict_tiers_refuse_a_password_in_clear_over_tcp(tier: str, name: str, url: str) -> None:
    error = refusal({"TIER": tier, **REQUIRED, name: url})

    assert error.problems == [
        (name, f"must not hold a password in clear in {tier}: seal it, or use {name}_FILE")
    ]
    assert CANARY not in str(error)


@pytest.mark.parametrize("tier", STRICT)
def test_strict_tier_accepts_password_by_file_or_socket(tmp_path: Path, tier: str) -> None:
    file = tmp_path / "url"
    file.write_text(GOOD_SECRETS["DATABASE_URL"])

    from_file = load({"TIER": tier, "TOKEN_KEY": KEY, "DATABASE_URL_FILE": str(file)})
    url = f"postgresql://u:{PASSWORD}@%2Frun/d"
    socket = load({"TIER": tier, "TOKEN_KEY": KEY, "DATABASE_URL": url})

    for settings in (from_file, socket):
        assert settings.database.target is not None
        assert settings.database.target.password
        assert settings.warnings == ()


WEAK_PASSWORDS = [
    ("p", ["must have at least 16 characters", "must be harder to guess"]),
    ("canary7f3a12345", ["must have at least 16 characters"]),
    ("Correct-Horse%20Battery-Staple9", ["must not be a well-known password"]),
    ("Flagstone_APP-2026-09", ["must not consist of the name of the user or the database"]),
    ("4" * 5_000, ["must be harder to guess"]),
]


@pytest.mark.parametrize("tier", STRICT)
@pytest.mark.parametrize(("password", "rules"), WEAK_PASSWORDS)
def test_strict_tiers_refuse_a_weak_password_wherever_it_is(
    tmp_path: Path, tier: str, password: str, rules: list[str]
) -> None:
    socket = f"postgresql://flagstone_app:{password}@%2Frun/flagstone"
    file = tmp_path / "url"
    file.write_text(f"postgresql://flagstone_app:{password}@h/flagstone")

    error = refusal(
        {
            "TIER": tier,
            **REQUIRED,
            "DATABASE_URL": socket,
            "DATABASE_MIGRATOR_URL": socket.replace(f":{password}@", f":{PASSWORD}@"),
            "DATABASE_ADMIN_URL_FILE": str(file),
        }
    )

    assert error.problems == [
        (name, f"the password {rule} in {tier}")
        for name in ("DATABASE_URL", "DATABASE_ADMIN_URL")
        for rule in rules
    ]
    assert password == "p" or password not in str(error)


@pytest.mark.parametrize("tier", STRICT)
def test_strict_tier_refuses_password_in_driver_variable(tier: str) -> None:
    """PGPASSWORD is in clear, and no rule checks its strength."""
    environ = {"TIER": tier, **REQUIRED, "PGPASSWORD": CANARY}

    error = refusal({**environ, "DATABASE_URL": "postgresql://u@h/d"})

    assert error.problems == [
        ("DATABASE_URL", f"must have its own password in {tier}: PGPASSWORD would be used instead")
    ]
    assert CANARY not in str(error)
    load({**environ, "DATABASE_URL": f"postgresql://u:{PASSWORD}@%2Frun/d"})
    load({**environ, "TIER": "local", "DATABASE_URL": "postgresql://u@h/d"})


@pytest.mark.parametrize("tier", STRICT)
@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca"])
def test_strict_tiers_refuse_weak_tls(tier: str, mode: str) -> None:
    rule = f"must use TLS with verify-full over TCP in {tier}"

    by_variable = refusal({"TIER": tier, **REQUIRED, "DATABASE_TLS_MODE": mode})
    by_url = refusal(
        {"TIER": tier, **REQUIRED, "DATABASE_URL": f"postgresql://u@h/d?sslmode={mode}"}
    )

    assert by_variable.problems == [("DATABASE_URL", rule)]
    assert by_url.problems == [("DATABASE_URL", rule)]


@pytest.mark.parametrize(
    ("tier", "mode"),
    [
        ("local", TlsMode.PREFER),
        ("development", TlsMode.VERIFY_FULL),
        ("staging", TlsMode.VERIFY_FULL),
        ("production", TlsMode.VERIFY_FULL),
    ],
)
def test_each_tier_has_its_tls(tier: str, mode: TlsMode) -> None:
    settings = load({"TIER": tier, **REQUIRED})

    assert settings.database.target is not None
    assert settings.database.target.tls.mode is mode


def test_development_warns_where_staging_refuses() -> None:
    settings = load(
        {
            "TIER": "development",
            "DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d?sslmode=require",
            "DATABASE_MIGRATOR_URL": f"postgresql://u:{PASSWORD}@%2Frun/d",
        }
    )

    clear, weak = settings.warnings
    assert clear.startswith("DATABASE_URL holds a password in clear")
    assert weak.startswith("DATABASE_URL connects without verify-full")
    assert CANARY not in clear + weak


def test_development_warns_of_a_weak_password() -> None:
    settings = load({"TIER": "development", "DATABASE_URL": f"postgresql://u:{CANARY}@%2Frun/d"})

    assert settings.warnings == (
        "DATABASE_URL: the password must have at least 16 characters; staging refuses that",
    )


def test_local_takes_everything_without_a_word() -> None:
    settings = load({"DATABASE_URL": "postgresql://u:p@h/d?sslmode=disable"})

    assert settings.warnings == ()


# TLS, the migrator, bounds


def test_socket_needs_no_tls() -> None:
    settings = load({"DATABASE_URL": "postgresql://u@%2Frun/d", "DATABASE_TLS_MODE": "require"})

    assert settings.database.target is not None
    assert settings.database.target.tls.mode is TlsMode.DISABLE


def test_two_tls_modes_must_agree() -> None:
    url = "postgresql://u@h/d?sslmode=require"

    agreed = load({"DATABASE_URL": url, "DATABASE_TLS_MODE": "require"})
    error = refusal({"DATABASE_URL": url, "DATABASE_TLS_MODE": "verify-full"})

    assert agreed.database.target is not None
    assert agreed.database.target.tls.mode is TlsMode.REQUIRE
    assert error.problems == [
        ("DATABASE_URL", "must not have another sslmode than DATABASE_TLS_MODE")
    ]


def test_tls_files_of_variables_override_the_url(tmp_path: Path) -> None:
    for name in ("url-ca", "url-c", "url-k", "variable-ca"):
        (tmp_path / name).touch()
    url = (
        f"postgresql://u@h/d?sslrootcert={tmp_path}/url-ca"
        f"&sslcert={tmp_path}/url-c&sslkey={tmp_path}/url-k"
    )

    settings = load({"DATABASE_URL": url, "DATABASE_TLS_CA": f"{tmp_path}/variable-ca"})
    error = refusal({"DATABASE_URL": url.replace("url-k", CANARY)})

    assert settings.database.target is not None
    tls = settings.database.target.tls
    assert (tls.ca, tls.certificate, tls.key) == (
        tmp_path / "variable-ca",
        tmp_path / "url-c",
        tmp_path / "url-k",
    )
    assert [name for name, _ in error.problems] == ["DATABASE_URL"]
    assert CANARY not in str(error)


def test_migrator_defaults_to_the_app_role() -> None:
    alone = load(REQUIRED).database
    both = load({**REQUIRED, "DATABASE_MIGRATOR_URL": "postgresql://migrator@db/d"}).database

    assert alone.migrator == alone.target
    assert both.migrator is not None
    assert both.migrator.user == "migrator"


@pytest.mark.parametrize(
    ("environ", "name", "rule"),
    [
        (("6", "5"), "DATABASE_POOL_MIN", "must not be above DATABASE_POOL_MAX"),
        (("6", ""), "DATABASE_POOL_MIN", "must not be above DATABASE_POOL_MAX"),
        (("101", "500"), "DATABASE_POOL_MIN", "must be a whole number from 0 to 100"),
        (("-1", "5"), "DATABASE_POOL_MIN", "must be a whole number from 0 to 100"),
        (("0", "0"), "DATABASE_POOL_MAX", "must be a whole number from 1 to 500"),
        (("0", "501"), "DATABASE_POOL_MAX", "must be a whole number from 1 to 500"),
    ],
)
def test_pool_bounds_that_contradict_are_refused(
    environ: tuple[str, str], name: str, rule: str
) -> None:
    least, most = environ

    error = refusal({"DATABASE_POOL_MIN": least, "DATABASE_POOL_MAX": most})

    assert error.problems == [(name, rule)]


def test_bound_that_contradicts_its_tier_default_is_refused() -> None:
    error = refusal({"TIER": "production", **REQUIRED, "DATABASE_POOL_MAX": "1"})

    assert error.problems == [("DATABASE_POOL_MIN", "must not be above DATABASE_POOL_MAX")]


@pytest.mark.parametrize("size", ["1", "100"])
def test_pool_may_have_a_fixed_size(size: str) -> None:
    settings = load({"DATABASE_POOL_MIN": size, "DATABASE_POOL_MAX": size})

    assert settings.database.pool_min == settings.database.pool_max == int(size)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("DATABASE_LOCK_TIMEOUT", "DATABASE_COMMAND_TIMEOUT"),
        ("DATABASE_HOST_TIMEOUT", "DATABASE_CONNECT_TIMEOUT"),
    ],
)
def test_partial_timeout_must_not_exceed_the_whole(lower: str, upper: str) -> None:
    equal = load({lower: "3", upper: "3", "REQUEST_TIMEOUT": "60"})
    error = refusal({lower: "3.1", upper: "3", "REQUEST_TIMEOUT": "60"})

    assert equal.warnings == ()
    assert error.problems == [(lower, f"must not be above {upper}")]


# Sources


def test_environment_overrides_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PORT=1111\nHOST=0.0.0.0\nINSTANCE_ID='$HOST ${PORT}'\nHSTS\n")
    for name in ("HOST", "INSTANCE_ID", "HSTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORT", "2222")

    settings = load()

    assert (settings.http.port, settings.http.hosts) == (2222, ("0.0.0.0",))  # noqa: S104
    assert settings.instance == "$HOST ${PORT}"


def test_process_without_env_file_uses_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSTANCE_ID", "one")

    settings = load()

    assert settings.instance == "one"


# The reference


def test_env_example_is_the_list_of_variables() -> None:
    """Run `make reference` after adding a variable."""
    assert env_example() == (ROOT / ".env.example").read_text(encoding="utf-8")


def test_helm_chart_has_the_names_of_variables() -> None:
    file = ROOT / "deploy/helm/flagstone/settings.yaml"

    assert chart_names() == file.read_text(encoding="utf-8")


def test_settings_page_has_the_table_of_variables() -> None:
    assert table() in (ROOT / "docs/settings.md").read_text(encoding="utf-8")


def test_env_example_uncommented_whole_changes_nothing() -> None:
    lines = re.sub(r"(?m)^#(?=[A-Z_]+=)", "", env_example())

    values = dotenv_values(stream=StringIO(lines), interpolate=False)

    assert set(values) == {variable.name for variable in VARIABLES}
    assert load({name: value or "" for name, value in values.items()}) == load({})


def test_each_variable_has_one_row_of_three_cells() -> None:
    heading, rule, *rows = table().splitlines()

    assert len(rows) == len(VARIABLES)
    assert all(row.count("|") == 4 for row in (heading, rule, *rows))
    assert [row.split("`")[1] for row in rows] == [variable.name for variable in VARIABLES]


@pytest.mark.parametrize(
    ("raw", "hosts"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("::, 127.0.0.1", ("::", "127.0.0.1")),
        ("[::1],localhost,[::1]", ("::1", "localhost")),
        ("*", ("*",)),
        ("app_1.internal.example.", ("app_1.internal.example.",)),
    ],
)
def test_host_takes_several_addresses(raw: str, hosts: tuple[str, ...]) -> None:
    assert load({"HOST": raw}).http.hosts == hosts


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        ("unix:/run/flagstone.sock", "must not be a Unix socket"),
        ("127.0.0.1:8080", "without ports"),
        ("http://localhost", "must be host names or addresses"),
        ("127.0.0.1,", "must be host names or addresses"),
        ("*,::1", r"or \* alone"),
        ("300.1.1.1", "must be host names or addresses"),
        ("a b", "must be host names or addresses"),
        ("x" * 64, "must be host names or addresses"),
    ],
)
def test_host_that_cannot_be_listened_on_names_the_rule(raw: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=f"HOST: .*{rule}"):
        load({"HOST": raw})


def test_unknown_name_in_the_file_env_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("DATABSE_URL", "FLAGSTONE_PORT", "COMPOSE_PROFILES", "TOKEN_KEY_FILE", "log_level")
    (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in names) + "HSTS=false\n")
    monkeypatch.setenv("INSTANCE_ID", "one")

    assert load().warnings == (
        ".env: DATABSE_URL is not a setting: did you mean DATABASE_URL?",
        ".env: FLAGSTONE_PORT is not a setting: did you mean PORT?",
        ".env: COMPOSE_PROFILES is not a setting, and has no effect",
        ".env: log_level is not a setting: did you mean LOG_LEVEL?",
    )


def test_near_miss_in_the_environment_is_a_warning() -> None:
    """Other names there belong to other programs."""
    near = {"DATABASE_URI": "x", "FLAGSTONE_WORKERS": "2"}
    others = {"PATH": "/bin", "HOSTNAME": "h", "PORTS": "1", "DATABASE_URL_TEST": "x", "TIERS": "1"}

    assert load(near | others).warnings == (
        "DATABASE_URI is not a setting: did you mean DATABASE_URL?",
        "FLAGSTONE_WORKERS is not a setting: did you mean WORKERS?",
    )
