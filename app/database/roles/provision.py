"""Provision the roles, the database and the schema, as a role that may create roles.

Passwords are generated, stored as URLs in a folder of mode 0700, and sent to the server as SCRAM
verifiers. Provisioning can be repeated: an existing file keeps its password.
"""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from app.database.catalog.ddl_triggers import provision_schema_audit
from app.database.client.drivers import SCHEMA, SEARCH_PATH, libpq_arguments
from app.database.role_names import (
    APP,
    AUDITOR,
    BACKUP,
    LOGIN_ROLES,
    MIGRATOR,
    OWNER,
    PREFIX,
    READONLY,
    scram_verifier,
)
from app.database.roles.check import CLOSE_PUBLIC
from app.database.roles.credentials import (
    ProvisionError,
    check_passwords,
    read_targets,
    read_url,
    url_file,
)
from app.database.roles.privileges import set_default_privileges
from app.private_files import write_new
from app.program import PROGRAM
from app.settings import DatabaseSettings, Target, TlsMode

__all__ = ["ProvisionError", "Provisioner"]

_LOCK_KEY = 0x726F6C65  # "role" in ASCII
_CONNECTION_LIMITS = {MIGRATOR: 20, APP: 400, READONLY: 20, BACKUP: 5}
# Behind a pooler these cannot be set at the start of a connection, as drivers.py does.
_ROLE_SETTINGS = {
    MIGRATOR: {
        "lock_timeout": "3s",
        "statement_timeout": "0",
        "client_connection_check_interval": "1s",
    },
    APP: {
        # A statement ends soon after its client has disconnected.
        "client_connection_check_interval": "1s",
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
        "jit": "off",
    },
    READONLY: {"statement_timeout": "60s", "default_transaction_read_only": "on"},
    BACKUP: {"default_transaction_read_only": "on"},
}
# The first version of PostgreSQL that has the setting.
_SETTING_SINCE = {"client_connection_check_interval": 140_000}


@dataclass(frozen=True, kw_only=True)
class Provisioner:
    """`admin` may create roles and databases. The URL files are written to `folder`.

    `takes_any_password` skips the check of passwords, for a folder without files of operators.
    """

    admin: Target
    settings: DatabaseSettings
    folder: Path
    database: str = PREFIX
    takes_any_password: bool = False

    def provision(self, *, reset_passwords: bool = False) -> dict[str, Path]:
        """Create missing roles and objects, and return the URL file of each login role.

        Raises ProvisionError if the folder lacks the URL of an existing role, unless
        `reset_passwords` is set; if a password in the folder is too weak; and, after all other
        steps, if the schema public is still open. Raises psycopg.Error if the server refuses.
        """
        if not self.takes_any_password:
            check_passwords([self._file(role) for role in LOGIN_ROLES], self.database)
        with self._connect(self.admin) as connection:
            # Wait at most this long for another provisioning of the same server.
            connection.execute("set lock_timeout = '60s'")
            connection.execute("select pg_advisory_lock(%s)", [_LOCK_KEY])
            rows = connection.execute(
                "select rolname from pg_roles where rolname = any(%s)",
                [[OWNER, AUDITOR, *LOGIN_ROLES]],
            )
            existing = {name for (name,) in rows}
            files = self._credentials(existing, reset_passwords=reset_passwords)
            self._create_roles(connection, existing)
            self._create_database(connection)
        with self._connect(self.admin.named(self.database)) as connection:
            _create_schema(connection)
            provision_schema_audit(connection)
            self._check_public(connection)
        return files

    def _check_public(self, connection: psycopg.Connection[Any]) -> None:
        """Raise ProvisionError if every role may create objects in the schema public.

        If a role that does not own the schema revokes the right, PostgreSQL only warns. Before 15
        the owner is the superuser, which a managed server does not offer.
        """
        row = connection.execute(
            "select pg_get_userbyid(nspowner) from pg_namespace, "
            "aclexplode(coalesce(nspacl, acldefault('n', nspowner))) as acl "
            "where nspname = 'public' and acl.grantee = 0 and acl.privilege_type = 'CREATE'"
        ).fetchone()
        if row is not None:
            raise ProvisionError(
                "Provisioned, but every role may still create objects in the schema public, "
                f"and {self.admin.user} may not revoke that. Its owner {row[0]} or a superuser "
                f"must run this in the database {self.database}: {CLOSE_PUBLIC}. Then run "
                f"`{PROGRAM} database provision` again"
            )

    def targets(self) -> dict[str, Target]:
        """Return the target of each login role, from the files of an earlier call."""
        return read_targets(self.folder)

    def _connect(self, target: Target) -> psycopg.Connection[Any]:
        return psycopg.connect(**libpq_arguments(target, self.settings), autocommit=True)

    def _file(self, role: str) -> Path:
        return url_file(self.folder, role)

    def _credentials(self, existing: set[str], *, reset_passwords: bool) -> dict[str, Path]:
        """Write the URLs before the passwords are set, so that no password can be lost."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_mode & 0o077:
            raise ProvisionError(f"{self.folder} must have mode 0700, since it contains passwords")
        files = {role: self._file(role) for role in LOGIN_ROLES}
        missing = [role for role, file in files.items() if not file.exists()]
        unknown = sorted(existing.intersection(missing))
        if unknown and not reset_passwords:
            raise ProvisionError(
                f"{', '.join(unknown)} exist already and their URLs are not in {self.folder}. "
                "Use the folder of the first run, or --reset-passwords to set new passwords."
            )
        for role in missing:
            write_new(files[role], self._url(role, secrets.token_urlsafe(32)) + "\n")
        return files

    def _url(self, role: str, password: str) -> str:
        hosts = ",".join(
            f"{quote(host, safe='') if '/' in host else _bracketed(host)}:{port}"
            for host, port in self.admin.hosts
        )
        url = f"postgresql://{role}:{password}@{hosts}/{quote(self.database, safe='')}"
        tls = self.admin.tls
        options: dict[str, object] = {}
        if tls.mode not in {None, TlsMode.DISABLE, TlsMode.PREFER}:
            options["sslmode"] = tls.mode
        if tls.ca is not None:
            options["sslrootcert"] = tls.ca
        return f"{url}?{urlencode(options)}" if options else url

    def _create_roles(self, connection: psycopg.Connection[Any], existing: set[str]) -> None:
        for role in {OWNER, AUDITOR} - existing:
            _run(connection, "create role {} nologin", role)
        for role in LOGIN_ROLES:
            if role not in existing:
                # Only the backup role inherits the rights of its memberships.
                inherit = "inherit" if role == BACKUP else "noinherit"
                _run(connection, f"create role {{}} login {inherit}", role)
            password = read_url(self._file(role)).password
            connection.execute(
                sql.SQL("alter role {} login password {} connection limit {}").format(
                    sql.Identifier(role),
                    sql.Literal(scram_verifier(password.reveal() if password else "")),
                    sql.Literal(_CONNECTION_LIMITS[role]),
                )
            )
        _run(connection, "grant {} to {}", OWNER, MIGRATOR)
        # An administrator without superuser must be a member of a role to give it ownership.
        with suppress(psycopg.errors.Error):
            _run(connection, "grant {} to current_user", OWNER)

    def _create_database(self, connection: psycopg.Connection[Any]) -> None:
        row = connection.execute(
            "select 1 from pg_database where datname = %s", [self.database]
        ).fetchone()
        if row is None:
            _run(connection, "create database {} owner {}", self.database, OWNER)
        _run(connection, "revoke all on database {} from public", self.database)
        for role in LOGIN_ROLES:
            _run(connection, "grant connect on database {} to {}", self.database, role)
            for name, value in {"search_path": SEARCH_PATH, **_ROLE_SETTINGS[role]}.items():
                if connection.info.server_version < _SETTING_SINCE.get(name, 0):
                    continue
                connection.execute(
                    sql.SQL("alter role {} in database {} set {} to {}").format(
                        sql.Identifier(role),
                        sql.Identifier(self.database),
                        sql.Identifier(name),
                        # A list of schemas: SET would treat a literal as one name.
                        sql.SQL(SEARCH_PATH) if name == "search_path" else sql.Literal(value),
                    )
                )


def _create_schema(connection: psycopg.Connection[Any]) -> None:
    _run(connection, "create schema if not exists {} authorization {}", SCHEMA, OWNER)
    _close_public(connection)
    if connection.info.server_version >= 140000:
        # A managed server may refuse it. Then the grants of each migration are enough.
        with suppress(psycopg.errors.InsufficientPrivilege):
            _run(connection, "grant pg_read_all_data to {}", BACKUP)
    set_default_privileges(connection)


def _close_public(connection: psycopg.Connection[Any]) -> None:
    """Revoke all rights to the schema public, where a role could shadow tables or functions.

    Since 15 the owner of the database owns the schema and could open it again.
    """
    row = connection.execute(
        "select pg_get_userbyid(nspowner), exists (select from aclexplode("
        "coalesce(nspacl, acldefault('n', nspowner))) where grantee = 0) "
        "from pg_namespace where nspname = 'public'"
    ).fetchone()
    owner, is_open = row or (None, False)
    if is_open:
        connection.execute("revoke all on schema public from public")
    if owner == "pg_database_owner":
        # A managed server may refuse it. Objects there are recorded in any case.
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("alter schema public owner to current_user")


def _run(connection: psycopg.Connection[Any], template: str, *names: str) -> None:
    connection.execute(sql.SQL(template).format(*map(sql.Identifier, names)))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
