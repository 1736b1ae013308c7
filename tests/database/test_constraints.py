"""Constraints of the database: each one refuses bad rows, and the error has its name."""

import re
from collections.abc import Iterator

import psycopg
import pytest

from app.database.migrations.files import FOLDER
from tests.conftest import Server

Connection = psycopg.Connection[tuple[object, ...]]

_MAC = "'\\x" + "00" * 32 + "'"

_KEY_ID = "'\\x" + "01" * 8 + "'"
_OTHER_ID = "'\\x" + "02" * 8 + "'"
_ACCESS_TEXTS = [
    "actor",
    "token_id",
    "client",
    "request_id",
    "method",
    "route",
    "resource",
    "detail",
]

# The rows that the bad statements refer to.
_PROPOSAL = (
    "insert into proposals (id, environments, title, operations, state, author) "
    "overriding system value values (1, '{local}', 't', '[]', 'open', 'a')"
)
_CHANGE_SET = (
    "insert into change_sets (environment, revision, kind, actor) values ('local', 1, 'edit', 'a')"
)


def _migration(**given: str) -> str:
    row = {
        "id": "1000",
        '"timestamp"': "9000000000000",
        "name": "'9000000000000-Any'",
        "instance": "''",
        "kind": "'schema'",
        "phase": "'core'",
        "checksum": "''",
        "state": "'applied'",
    }
    return _insert("migrations", row | given)


def _environment(**given: str) -> str:
    return _insert("environments", {"name": "'test'", "tier": "'local'"} | given)


def _configuration(**given: str) -> str:
    row = {
        "environment": "'local'",
        "key": "'k'",
        "kind": "'setting'",
        "value": "'1'",
        "version": "1",
        "updated_revision": "1",
    }
    return _insert("configurations", row | given)


def _change_set(**given: str) -> str:
    row = {"environment": "'local'", "revision": "1", "kind": "'edit'", "actor": "''"}
    return _insert("change_sets", row | given)


def _change(**given: str) -> str:
    row = {
        "environment": "'local'",
        "revision": "1",
        "key": "'k'",
        "after_kind": "'setting'",
        "after_version": "1",
    }
    return _insert("changes", row | given)


def _property_change(**given: str) -> str:
    row = {
        "environment": "'local'",
        "revision": "1",
        "version": "2",
        "before_metadata": "'{}'",
        "before_fractional": "'v3'",
        "before_protected": "false",
        "after_metadata": "'{}'",
        "after_fractional": "'v2'",
        "after_protected": "true",
    }
    return _insert("property_changes", row | given)


def _store(**given: str) -> str:
    row = {"salt": f"'\\x{'00' * 16}'"}
    return _insert("list_stores", row | given)


def _value(**given: str) -> str:
    return _insert("list_values", {"store": "1", "hash": "1", "value": "'v'"} | given)


def _state(**given: str) -> str:
    row = {
        "store": "(select max(id) from list_stores)",
        "sequence": "0",
        "digest": _MAC,
        "count": "1",
        "sum": f"'\\x{'00' * 512}'",
    }
    return _insert("list_states", row | given)


_PREFIXES = (
    """'{""}'""",
    "'{shop/}'",
    f"'{{a,{'b' * 255}}}'",
    "(select array_agg('p' || n) from generate_series(1, 100) as n)",
)
_BAD_PREFIXES = (
    *("'{}'", "'{null}'", "'{{a},{b}}'", "'{/a}'", "'{a b}'", "'{a,null}'", f"'{{{'a' * 256}}}'"),
    """'{"",a}'""",
    """'{a,""}'""",
    "(select array_agg('p' || n) from generate_series(1, 101) as n)",
)


def _token(**given: str) -> str:
    row = {
        "id": "'0123456789abC'",
        "name": "''",
        "mac": _MAC,
        "scopes": "'{read}'",
        "environments": "'{*}'",
        "created_by": "''",
    }
    return _insert("tokens", row | given)


def _session(**given: str) -> str:
    row = {
        "id": "'0123456789abC'",
        "mac": _MAC,
        "actor": "''",
        "name": "''",
        "scopes": "'{read}'",
        "environments": "'{*}'",
        "expires_at": "current_timestamp",
    }
    return _insert("sessions", row | given)


def _code(**given: str) -> str:
    row = {
        "id": "'0123456789abC'",
        "mac": _MAC,
        "actor": "''",
        "name": "''",
        "scopes": "'{read}'",
        "environments": "'{*}'",
        "expires_at": "current_timestamp",
    }
    return _insert("sign_in_codes", row | given)


def _oidc_session(**given: str) -> str:
    row = {
        "session_id": "'0123456789abC'",
        "issuer": "'https://id.example.org'",
        "subject": "'s'",
        "sealed": "decode(repeat('00', 28), 'hex')",
    }
    return f"{_session()}; {_insert('oidc_sessions', row | given)}"


def _oidc_use(**given: str) -> str:
    row = {"id": "repeat('0', 64)", "expires_at": "current_timestamp"}
    return _insert("oidc_uses", row | given)


def _person(**given: str) -> str:
    row = {
        "id": "'0123456789abC'",
        "mac": _MAC,
        "issuer": "'https://login.example.com'",
        "subject": "'s'",
        "name": "'n'",
    }
    return _insert("people", row | given)


def _role(**given: str) -> str:
    row = {"name": "'operator'", "mac": _MAC, "scopes": "'{read}'", "created_by": "''"}
    return _insert("roles", row | given)


def _grant(**given: str) -> str:
    row = {
        "id": "'0123456789abC'",
        "mac": _MAC,
        "group_name": "'platform'",
        "role": "'viewer'",
        "environments": "'{*}'",
        "reason": "'r'",
        "created_by": "''",
    }
    return _insert("grants", row | given)


def _project(**given: str) -> str:
    row = {
        "name": "'payments'",
        "mac": _MAC,
        "prefix": "'payments/'",
        "owner_group": "'payments'",
        "created_by": "''",
    }
    return _insert("projects", row | given)


def _history(**given: str) -> str:
    row = {"actor": "''", "event": "'grant_created'", "subject": "'0123456789abC'"}
    return _insert("access_history", row | given)


def _answer(**given: str) -> str:
    return _insert("idempotency_keys", {"actor": "''", "key": "'k'", "request": _MAC} | given)


def _use(**given: str) -> str:
    row = {
        "environment": "'local'",
        "key": "'k'",
        "reason": "'STATIC'",
        "variant": "'on'",
        "count": "1",
        "last_evaluated_at": "current_timestamp",
    }
    return _insert("flag_usage", row | given)


def _hour(**given: str) -> str:
    row = {
        "environment": "'local'",
        "key": "'k'",
        "hour": "current_timestamp",
        "variant": "'on'",
        "count": "1",
    }
    return _insert("flag_usage_hours", row | given)


def _step(**given: str) -> str:
    row = {"environment": "'local'", "key": "'k'", "step": "1", "begins_at": "current_timestamp"}
    return _insert("plan_steps", row | given)


def _data_key(**given: str) -> str:
    row = {
        "environment": "'local'",
        "id": _KEY_ID,
        "kek_id": "'20261124-0a0b0c0d'",
        "wrapped": "'\\x00'",
    }
    return _insert("data_keys", row | given)


def _destroyed(**given: str) -> str:
    now = "current_timestamp"
    return _data_key(**{"wrapped": "null", "retired_at": now, "destroyed_at": now} | given)


def _access(**given: str) -> str:
    row = {"event": "'authz_fail'", "decision": "'refused'", "actor": "''"}
    return _insert("access_log", row | given)


def _proposal(**given: str) -> str:
    row = {
        "environments": "'{local}'",
        "title": "'t'",
        "operations": "'[]'",
        "state": "'open'",
        "author": "''",
    }
    return _insert("proposals", row | given)


def _event(**given: str) -> str:
    row = {
        "proposal_id": "1",
        "version": "1",
        "event": "'created'",
        "actor": "''",
        "environments": "'{local}'",
    }
    return _insert("proposal_events", row | given)


def _proposal_secret(**given: str) -> str:
    row = {
        "proposal_id": "1",
        "environment": "'local'",
        "key": "'k'",
        "version": "1",
        "sealed": "''",
    }
    return _insert("proposal_secrets", row | given)


def _edition(**given: str) -> str:
    return _insert("access_editions", {"part": "'z'"} | given)


def _lock(**given: str) -> str:
    return _insert("locks", {"name": "'access'"} | given)


def _visit(**given: str) -> str:
    row = {"actor": "''", "proposal_id": "1", "event_id": "1"}
    return _insert("proposal_visits", row | given)


def _fingerprint(**given: str) -> str:
    row = {
        "action": "'migrated'",
        "migration": "''",
        "instance": "''",
        "server_version": "18",
        "fingerprint": _MAC,
        "facts": "'{}'",
        "recording": "true",
    }
    return _insert("schema_fingerprints", row | given)


def _insert(table: str, row: dict[str, str]) -> str:
    return f"insert into {table} ({', '.join(row)}) values ({', '.join(row.values())})"  # noqa: S608


def _all(*statements: str) -> str:
    return "; ".join(statements)


def _beat(**given: str) -> str:
    return _insert("health_check", {"id": "1000000", "status": "'ok'"} | given)


# One valid row per table. Each case changes one value of it.
GOOD = {
    "migrations": [_migration()],
    "health_check": [_beat(), _beat(status="'fail'")],
    "environments": [
        _environment(),
        _environment(name=f"'{'a' * 63}'"),
        _environment(fractional="'v2'", revision="0"),
    ],
    "flag_usage": [_use(), _use(key="'l'", variant="''")],
    "flag_usage_hours": [_hour(), _hour(variant="''")],
    "list_stores": [_store(), _store(head="1")],
    "list_values": [
        _value(),
        _value(value=f"'{'é' * 255}'", expires_at="current_timestamp", removed="1"),
        _all(_value(removed="1"), _value(added="2")),
    ],
    "list_states": [_all(_store(), _state()), _all(_store(), _state(count="1000000"))],
    "plan_steps": [_step(), _step(step="2", revision="1")],
    "data_keys": [
        _data_key(),
        _all(_data_key(retired_at="current_timestamp"), _data_key(id=_OTHER_ID)),
        _all(_data_key(), _data_key(environment="'staging'")),
        _destroyed(),
        _data_key(kek_id="'arn:aws:kms:eu-central-1:111122223333:key/1234'"),
    ],
    "access_log": [
        _access(),
        _access(decision="'allowed'", version="1", count="2"),
        _access(event=f"'{'a' * 63}'"),
        _access(**dict.fromkeys(_ACCESS_TEXTS, f"'{'é' * 255}'"), environment=f"'{'a' * 63}'"),
    ],
    "configurations": [
        _configuration(),
        _configuration(key=f"'{'a' * 255}'"),
        _configuration(key="'A._/-0'"),
        _configuration(value="'null'"),
        _configuration(kind="'flag'"),
        _configuration(kind="'segment'"),
        _configuration(kind="'secret'", value="null", sealed="''"),
    ],
    "change_sets": [
        _change_set(kind=f"'{kind}'")
        for kind in ("edit", "revert", "restore", "promote", "import", "scheduled", "proposal")
    ]
    + [_change_set(approval="""'{"emergency": true}'""")],
    "changes": [
        _change(),
        _change(before_kind="'flag'", before_version="1", after_kind="null", after_version="null"),
        _change(
            before_kind="'secret'",
            before_version="1",
            before_sealed="''",
            after_kind="'secret'",
            after_sealed="''",
        ),
    ],
    "property_changes": [
        _property_change(),
        _property_change(after_metadata="""'{"a": 1}'""", version="3"),
        _property_change(after_protection="""'{"approvals": 1}'"""),
    ],
    "tokens": [
        _token(),
        _token(scopes="'{evaluate,read,write,propose,approve,reveal,admin,relay,publish}'"),
        *(_token(prefixes=value) for value in _PREFIXES),
    ],
    "sessions": [
        _session(),
        _session(scopes="'{evaluate,read,write,propose,approve,reveal,admin,publish}'"),
        _all(_token(), _session(token_id="'0123456789abC'")),
        _all(
            _person(),
            _session(person_id="'0123456789abC'", scopes="'{}'", environments="'{}'"),
        ),
        *(_session(prefixes=value) for value in _PREFIXES),
    ],
    "oidc_sessions": [
        _oidc_session(),
        _oidc_session(sid="'s'", refresh_at="current_timestamp"),
    ],
    "oidc_uses": [_oidc_use()],
    "people": [
        _person(),
        _all(_person(), _person(id="'0123456789abD'", issuer="'https://other.example.com'")),
        _person(groups=f"array ['{'é' * 255}', 'a b']", email=f"'{'é' * 254}'"),
        _person(groups="(select array_agg(n::text) from generate_series(1, 5000) as n)"),
        _person(suspended_at="current_timestamp"),
    ],
    "roles": [
        _role(),
        _role(
            name=f"'{'a' * 63}'",
            description=f"'{'é' * 1000}'",
            scopes="'{evaluate,read,write,propose,approve,reveal,admin,publish}'",
        ),
    ],
    "grants": [
        _grant(),
        _all(_person(), _grant(group_name="null", person_id="'0123456789abC'")),
        _grant(environments="'{local,staging}'", prefix="'payments/'"),
        _grant(group_name=f"'{'é' * 255}'", prefix=f"'{'a' * 255}'", reason=f"'{'é' * 500}'"),
    ],
    "projects": [
        _project(),
        _all(_project(), _project(name="'cards'", prefix="'payments/cards/'")),
        _project(owner_group=f"'{'é' * 255}'", description=f"'{'é' * 1000}'"),
    ],
    "access_history": [
        _history(event=f"'{event}'", before="'{}'", after="'{}'", environments="'{local}'")
        for event in (
            *("grant_created", "grant_revoked", "grant_narrowed", "role_created", "role_changed"),
            *("role_deleted", "project_created", "project_changed", "project_deleted"),
            *("person_suspended", "person_restored", "rows_signed"),
        )
    ],
    "sign_in_codes": [
        _code(),
        _code(scopes="'{evaluate,read,write,propose,approve,reveal,admin,publish}'"),
        *(_code(prefixes=value) for value in _PREFIXES),
    ],
    "proposals": [
        _proposal(),
        _proposal(title=f"'{'é' * 200}'", message=f"'{'é' * 1000}'"),
        _proposal(
            state="'scheduled'",
            apply_at="current_timestamp",
            expires_after_seconds="0",
            scheduled_by="''",
        ),
        _proposal(state="'applied'", applied="'{}'"),
    ],
    "proposal_events": [
        _all(_PROPOSAL, _event(event=f"'{event}'", text=f"'{'é' * 2000}'"))
        for event in (
            *("created", "submitted", "edited", "approved", "rejected", "commented"),
            *("scheduled", "unscheduled", "applied", "failed", "withdrawn"),
        )
    ],
    "proposal_secrets": [_all(_PROPOSAL, _proposal_secret())],
    "idempotency_keys": [_answer(), _answer(key=f"'{'~' * 200}'"), _answer(key="'!'")],
}

# By constraint: statements that only this constraint refuses.
BAD = {
    "migrations_pkey": [_migration(id="(select min(id) from migrations)")],
    "migrations_timestamp_unique": [
        _migration(**{'"timestamp"': '(select min("timestamp") from migrations)'})
    ],
    "migrations_name_unique": [_migration(name="(select min(name) from migrations)")],
    "migrations_kind_known": [_migration(kind="'Schema'"), _migration(kind="''")],
    "migrations_state_known": [_migration(state="'failed'")],
    "migrations_phase_known": [_migration(phase="'later'")],
    "migrations_timestamp_thirteen_digits": [
        _migration(**{'"timestamp"': "999999999999"}),
        _migration(**{'"timestamp"': "10000000000000"}),
    ],
    "health_check_pkey": [f"{_beat()}, (1000000, 'ok')"],
    "health_check_status_known": [_beat(status="'OK'"), _beat(status="''")],
    "environments_pkey": [_environment(name="'local'")],
    "environments_name_well_formed": [
        _environment(name="''"),
        _environment(name="'Local'"),
        _environment(name="'0a'"),
        _environment(name="'-a'"),
        _environment(name="'a_b'"),
        _environment(name="'é'"),
        _environment(name=r"E'a\n'"),
        _environment(name=f"'{'a' * 64}'"),
    ],
    "environments_revision_not_negative": [_environment(revision="-1")],
    "environments_first_revision_within": [
        _environment(first_revision="0"),
        _environment(first_revision="2"),
    ],
    "environments_fractional_known": [_environment(fractional="'v1'")],
    "environments_metadata_object": [
        _environment(metadata=value) for value in ("'[]'", "'null'", "'1'", "'\"a\"'")
    ],
    "configurations_pkey": [
        _all(_configuration(), _configuration(id="(select id from configurations)", key="'x'"))
    ],
    "configurations_environment_key_unique": [_all(_configuration(), _configuration())],
    "configurations_environment_fkey": [
        _configuration(environment="'nowhere'"),
        _all(_configuration(), "delete from environments where name = 'local'"),
    ],
    "configurations_key_well_formed": [
        _configuration(key=key)
        for key in ("''", "'.a'", "'/a'", "'a b'", "'é'", r"E'a\n'", f"'{'a' * 256}'")
    ],
    "configurations_kind_known": [_configuration(kind="'Flag'"), _configuration(kind="''")],
    "configurations_secret_sealed": [
        _configuration(value="null"),
        _configuration(sealed="''"),
        _configuration(kind="'secret'"),
        _configuration(kind="'secret'", sealed="''"),
        _configuration(kind="'secret'", value="null"),
    ],
    "configurations_version_positive": [_configuration(version="0")],
    "configurations_revision_positive": [_configuration(updated_revision="0")],
    "change_sets_pkey": [_all(_CHANGE_SET, _CHANGE_SET)],
    "change_sets_environment_fkey": [
        _change_set(environment="'nowhere'"),
        _all(_CHANGE_SET, "delete from environments where name = 'local'"),
    ],
    "change_sets_revision_positive": [_change_set(revision="0")],
    "flag_usage_pkey": [_all(_use(), _use())],
    "flag_usage_environment_fkey": [_use(environment="'nowhere'")],
    "flag_usage_count_positive": [_use(count="0")],
    "flag_usage_hours_pkey": [_all(_hour(), _hour())],
    "flag_usage_hours_environment_fkey": [_hour(environment="'nowhere'")],
    "flag_usage_hours_count_positive": [_hour(count="0")],
    "plan_steps_pkey": [_all(_step(), _step())],
    "plan_steps_environment_fkey": [_step(environment="'nowhere'")],
    "plan_steps_step_positive": [_step(step="0")],
    "schema_fingerprints_pkey": [
        _all(*(["alter table schema_fingerprints alter id restart", _fingerprint()] * 2))
    ],
    "schema_fingerprints_action_known": [_fingerprint(action="'edited'")],
    "schema_fingerprints_fingerprint_whole": [_fingerprint(fingerprint="''")],
    "schema_fingerprints_message_bounded": [_fingerprint(message=f"'{'a' * 256}'")],
    "access_log_pkey": [_all(*(["alter table access_log alter id restart", _access()] * 2))],
    "access_log_count_positive": [_access(count="0")],
    "access_log_decision_known": [_access(decision="'granted'"), _access(decision="''")],
    "access_log_event_well_formed": [
        _access(event=event) for event in ("''", "'Authz'", "'1a'", r"E'a\n'", f"'{'a' * 64}'")
    ],
    "access_log_texts_bounded": [
        *(_access(**{text: f"'{'a' * 256}'"}) for text in _ACCESS_TEXTS),
        _access(environment=f"'{'a' * 64}'"),
    ],
    "environments_hash_length": [_environment(hash="'\\x00'")],
    "environments_protection_object": [
        _environment(protection=value) for value in ("'[]'", "'null'", "'1'")
    ],
    "change_sets_approval_object": [
        _change_set(approval=value) for value in ("'[]'", "'null'", "'true'")
    ],
    "property_changes_protection_objects": [
        _all(_CHANGE_SET, _property_change(**{f"{side}_protection": value}))
        for side in ("before", "after")
        for value in ("'[]'", "'null'", "'1'")
    ],
    "change_sets_hash_length": [_change_set(hash="'\\x00'")],
    "change_sets_kind_known": [_change_set(kind="'other'")],
    "changes_pkey": [_all(_CHANGE_SET, _change(), _change())],
    "changes_change_set_fkey": [
        _change(revision="7"),
        _all(_CHANGE_SET, _change(), "delete from change_sets"),
        _all(_CHANGE_SET, _change(), "update change_sets set revision = 2"),
    ],
    "changes_key_well_formed": [_all(_CHANGE_SET, _change(key=key)) for key in ("''", "'.a'")],
    "changes_something_changed": [
        _all(_CHANGE_SET, _change(after_kind="null", after_version="null"))
    ],
    "changes_before_complete": [
        _all(_CHANGE_SET, _change(before_kind="'flag'")),
        _all(_CHANGE_SET, _change(before_version="1")),
    ],
    "changes_after_complete": [
        _all(_CHANGE_SET, _change(after_kind="null")),
        _all(_CHANGE_SET, _change(after_version="null", before_version="1", before_kind="'flag'")),
    ],
    "changes_before_secret_sealed": [
        _all(_CHANGE_SET, _change(before_version="1", before_kind="'secret'", **more))
        for more in ({}, {"before_sealed": "''", "before_value": "'1'"})
    ]
    + [_all(_CHANGE_SET, _change(before_version="1", before_kind="'flag'", before_sealed="''"))],
    "changes_after_secret_sealed": [
        _all(_CHANGE_SET, _change(after_kind="'secret'")),
        _all(_CHANGE_SET, _change(after_kind="'secret'", after_sealed="''", after_value="'1'")),
        _all(_CHANGE_SET, _change(after_sealed="''")),
    ],
    "list_stores_pkey": [_all(*(["alter table list_stores alter id restart", _store()] * 2))],
    "list_stores_salt_length": [_store(salt="''")],
    "list_stores_head_not_negative": [_store(head="-1")],
    "list_values_pkey": [_all(_value(), _value())],
    "list_values_value_length": [_value(value="''"), _value(value=f"'{'a' * 256}'")],
    "list_values_added_not_negative": [_value(added="-1")],
    "list_values_removed_later": [_value(removed="0")],
    "list_states_pkey": [_all(_store(), _state(), _state())],
    "list_states_store_fkey": [_state(store="-1")],
    "list_states_sequence_not_negative": [_all(_store(), _state(sequence="-1"))],
    "list_states_digest_length": [_all(_store(), _state(digest="''"))],
    "list_states_count_limited": [
        _all(_store(), _state(count=count)) for count in ("-1", "1000001")
    ],
    "list_states_sum_length": [_all(_store(), _state(sum="''"))],
    "data_keys_pkey": [_all(_destroyed(), _destroyed())],
    "data_keys_environment_fkey": [_data_key(environment="'nowhere'")],
    "data_keys_id_length": [_data_key(id="''"), _data_key(id="'\\x00'")],
    "data_keys_kek_id_well_formed": [
        _data_key(kek_id=kek_id) for kek_id in ("''", "'a b'", "'é'", f"'{'a' * 201}'")
    ],
    "data_keys_wrapped_unless_destroyed": [
        _data_key(wrapped="null"),
        _destroyed(wrapped="'\\x00'"),
    ],
    "data_keys_retired_if_destroyed": [_destroyed(retired_at="null")],
    "data_keys_one_active": [_all(_data_key(), _data_key(id=_OTHER_ID))],
    "environments_version_positive": [_environment(version="0")],
    "property_changes_pkey": [_all(_CHANGE_SET, _property_change(), _property_change())],
    "property_changes_change_set_fkey": [
        _property_change(revision="7"),
        _all(_CHANGE_SET, _property_change(), "delete from change_sets"),
    ],
    "property_changes_version_counts": [_all(_CHANGE_SET, _property_change(version="1"))],
    "property_changes_metadata_objects": [
        _all(_CHANGE_SET, _property_change(**{f"{side}_metadata": value}))
        for side in ("before", "after")
        for value in ("'[]'", "'null'", "'1'")
    ],
    "property_changes_fractional_known": [
        _all(_CHANGE_SET, _property_change(**{f"{side}_fractional": "'v1'"}))
        for side in ("before", "after")
    ],
    "tokens_pkey": [_all(_token(), _token())],
    "tokens_replaced_by_fkey": [_token(replaced_by="'missing'", retires_at="now()")],
    "tokens_grant_mac_length": [_token(grant_mac="''")],
    "tokens_relay_mac_length": [_token(relay_mac="''")],
    "tokens_retired_when_replaced": [
        _token(retires_at="now()"),
        _all(_token(), _token(id=f"'{'b' * 13}'", replaced_by="'0123456789abC'")),
    ],
    "tokens_id_well_formed": [_token(id=f"'{'a' * length}'") for length in (0, 12, 14)]
    + [_token(id="'aaaaaaaaaaaa_'")],
    "tokens_mac_length": [_token(mac="''"), _token(mac=_MAC[:-3] + "'")],
    "tokens_scopes_known": [
        _token(scopes="'{}'"),
        _token(scopes="'{read,Admin}'"),
        _token(scopes="'{null}'"),
    ],
    "tokens_prefixes_well_formed": [_token(prefixes=value) for value in _BAD_PREFIXES],
    "sessions_prefixes_well_formed": [_session(prefixes=value) for value in _BAD_PREFIXES],
    "sign_in_codes_prefixes_well_formed": [_code(prefixes=value) for value in _BAD_PREFIXES],
    "tokens_environments_given": [_token(environments="'{}'")],
    "tokens_lapsed_within_environments": [_token(lapsed="'{other}'")],
    # One row that the driver cannot decode would make every read of the tokens fail.
    "tokens_scopes_flat": [_token(scopes="'{{read},{write}}'")],
    "tokens_times_bounded": [
        _token(**{column: at})
        for column in ("created_at", "expires_at", "revoked_at", "last_used_at")
        for at in ("'infinity'", "'-infinity'", "'20000-01-01'", "'0044-03-15 BC'")
    ]
    + [_token(id=f"'{'b' * 13}'", replaced_by=f"'{'b' * 13}'", retires_at="'infinity'")],
    "sessions_pkey": [_all(_session(), _session())],
    "sessions_token_id_fkey": [_session(token_id="'missing'")],
    "sessions_id_well_formed": [_session(id=f"'{'a' * 12}'"), _session(id="'aaaaaaaaaaaa_'")],
    "sessions_mac_length": [_session(mac="''")],
    "sessions_scopes_flat": [_session(scopes="'{{read},{write}}'")],
    "sessions_scopes_known": [_session(scopes="'{}'"), _session(scopes="'{read,Admin}'")],
    "sessions_environments_given": [
        _session(environments=value) for value in ("'{}'", "'{null}'", """'{""}'""")
    ],
    "sessions_texts_bounded": [
        _session(**{column: f"'{'a' * 256}'"})
        for column in ("actor", "name", "user_agent", "network")
    ],
    "sessions_times_bounded": [
        _session(**{column: at})
        for column in ("created_at", "last_seen_at", "expires_at", "revoked_at")
        for at in ("'infinity'", "'-infinity'")
    ],
    "sessions_person_id_fkey": [_session(person_id="'0123456789abC'")],
    "oidc_sessions_pkey": [
        _oidc_session() + _oidc_session().rpartition(_session())[2],
    ],
    "oidc_sessions_session_id_fkey": [_oidc_session(session_id="'missing'")],
    "oidc_sessions_texts_bounded": [
        _oidc_session(**{column: value})
        for column in ("issuer", "subject", "sid")
        for value in ("''", f"'{'a' * 256}'")
    ],
    "oidc_sessions_sealed_bounded": [
        _oidc_session(sealed="''"),
        _oidc_session(sealed="decode(repeat('00', 1048577), 'hex')"),
    ],
    "oidc_uses_pkey": [_all(_oidc_use(), _oidc_use())],
    "oidc_uses_id_well_formed": [_oidc_use(id="repeat('0', 63)"), _oidc_use(id="repeat('A', 64)")],
    "people_pkey": [_all(_person(), _person(subject="'t'"))],
    "people_issuer_subject_unique": [_all(_person(), _person(id="'0123456789abD'"))],
    "people_id_well_formed": [_person(id=f"'{'a' * 12}'"), _person(id="'aaaaaaaaaaaa_'")],
    "people_mac_length": [_person(mac="''")],
    "people_texts_bounded": [
        _person(issuer="''"),
        _person(subject="''"),
        _person(name="''"),
        _person(issuer=f"'{'a' * 256}'"),
        _person(subject=f"'{'a' * 256}'"),
        _person(name=f"'{'a' * 201}'"),
        _person(email=f"'{'a' * 255}'"),
    ],
    "people_texts_printable": [
        _person(**{column: r"E'a\nb'"}) for column in ("issuer", "subject", "name", "email")
    ],
    "people_groups_bounded": [
        _person(groups="'{{a},{b}}'"),
        _person(groups="'{null}'"),
        _person(groups="""'{""}'"""),
        _person(groups=f"array ['a', '{'é' * 256}', 'b']"),
        _person(groups="(select array_agg(n::text) from generate_series(1, 5001) as n)"),
    ],
    "people_groups_printable": [
        _person(groups=r"array [E'a\nb']"),
        _person(groups=r"array [E'\t']"),
    ],
    "people_times_bounded": [
        _person(first_seen_at="'-infinity'"),
        _person(last_seen_at="'infinity'"),
        _person(claims_at="'infinity'"),
        _person(suspended_at="'9999-01-01 00:00Z'"),
    ],
    "roles_times_bounded": [
        _role(**{column: at})
        for column in ("created_at", "updated_at")
        for at in ("'infinity'", "'-infinity'")
    ],
    "roles_pkey": [_all(_role(), _role())],
    "roles_name_well_formed": [_role(name="'Admin'"), _role(name=f"'{'a' * 64}'")],
    "roles_mac_length": [_role(mac="''")],
    "roles_scopes_flat": [_role(scopes="'{{read},{write}}'")],
    "roles_scopes_known": [_role(scopes="'{}'"), _role(scopes="'{relay}'")],
    "roles_version_positive": [_role(version="0")],
    "roles_texts_bounded": [
        _role(description=f"'{'a' * 1001}'"),
        _role(created_by=f"'{'a' * 256}'"),
    ],
    "roles_texts_printable": [_role(description=r"E'a\nb'"), _role(created_by=r"E'a\nb'")],
    "grants_times_bounded": [
        _grant(**{column: at}) for column in ("created_at",) for at in ("'infinity'", "'-infinity'")
    ],
    "grants_pkey": [_all(_grant(), _grant())],
    "grants_person_id_fkey": [_grant(group_name="null", person_id="'0123456789abC'")],
    "grants_id_well_formed": [_grant(id=f"'{'a' * 12}'")],
    "grants_mac_length": [_grant(mac="''")],
    "grants_holder_given": [
        _grant(group_name="null"),
        _all(_person(), _grant(person_id="'0123456789abC'")),
    ],
    "grants_role_well_formed": [_grant(role="'Viewer'"), _grant(role="''")],
    "grants_environments_flat": [_grant(environments="'{{local},{staging}}'")],
    "grants_environments_given": [
        _grant(environments=environments)
        for environments in (
            *("'{}'", "'{null}'", """'{""}'""", "'{*,local}'", "'{Local}'", "'{local,*}'"),
            "(select array_agg('e' || n) from generate_series(1, 201) as n)",
        )
    ],
    "grants_prefix_well_formed": [
        _grant(prefix=prefix) for prefix in ("'/a'", "'a b'", "'é'", f"'{'a' * 256}'")
    ],
    "grants_texts_bounded": [
        _grant(group_name="''"),
        _grant(group_name=f"'{'a' * 256}'"),
        _grant(reason="''"),
        _grant(reason=f"'{'a' * 501}'"),
        _grant(created_by=f"'{'a' * 256}'"),
    ],
    "grants_texts_printable": [
        _grant(**{column: r"E'a\nb'"}) for column in ("group_name", "reason", "created_by")
    ],
    "projects_times_bounded": [
        _project(**{column: at})
        for column in ("created_at", "updated_at")
        for at in ("'infinity'", "'-infinity'")
    ],
    "projects_pkey": [_all(_project(), _project(prefix="'cards/'"))],
    "projects_prefix_unique": [_all(_project(), _project(name="'cards'"))],
    "projects_name_well_formed": [_project(name="'Payments'")],
    "projects_mac_length": [_project(mac="''")],
    "projects_prefix_well_formed": [_project(prefix="''"), _project(prefix="'/a'")],
    "projects_version_positive": [_project(version="0")],
    "projects_texts_bounded": [
        _project(owner_group="''"),
        _project(owner_group=f"'{'a' * 256}'"),
        _project(description=f"'{'a' * 1001}'"),
        _project(created_by=f"'{'a' * 256}'"),
    ],
    "projects_texts_printable": [
        _project(**{column: r"E'a\nb'"}) for column in ("owner_group", "description", "created_by")
    ],
    "access_history_pkey": [
        _all(*(["alter table access_history alter id restart", _history()] * 2))
    ],
    "access_history_event_known": [_history(event="'grant_changed'")],
    "access_history_states_objects": [_history(before="'[]'"), _history(after="'1'")],
    "access_history_texts_bounded": [
        _history(actor=f"'{'a' * 256}'"),
        _history(subject=f"'{'a' * 256}'"),
        _history(prefix=f"'{'a' * 256}'"),
        _history(reason=f"'{'a' * 501}'"),
        _history(environments="(select array_agg('e' || n) from generate_series(1, 201) as n)"),
    ],
    "access_history_texts_printable": [
        _history(**{column: r"E'a\nb'"}) for column in ("actor", "subject", "prefix", "reason")
    ],
    "sign_in_codes_pkey": [_all(_code(), _code())],
    "sign_in_codes_id_well_formed": [_code(id=f"'{'a' * 12}'"), _code(id="'aaaaaaaaaaaa_'")],
    "sign_in_codes_mac_length": [_code(mac="''")],
    "sign_in_codes_scopes_flat": [_code(scopes="'{{read},{write}}'")],
    "sign_in_codes_scopes_known": [_code(scopes="'{}'"), _code(scopes="'{read,Admin}'")],
    "sign_in_codes_environments_given": [
        _code(environments=value) for value in ("'{}'", "'{null}'", """'{""}'""")
    ],
    "proposals_pkey": [_all(*(["alter table proposals alter id restart", _proposal()] * 2))],
    "proposals_environments_named": [_proposal(environments="'{}'")],
    "proposals_title_bounded": [_proposal(title="''"), _proposal(title=f"'{'a' * 201}'")],
    "proposals_message_bounded": [_proposal(message=f"'{'a' * 1001}'")],
    "proposals_operations_array": [_proposal(operations="'{}'")],
    "proposals_version_positive": [_proposal(version="0")],
    "proposals_state_known": [_proposal(state="'closed'")],
    "proposals_schedule_complete": [
        _proposal(state="'scheduled'"),
        _proposal(apply_at="current_timestamp"),
    ],
    "proposals_expiry_not_negative": [
        _proposal(apply_at="current_timestamp", expires_after_seconds="-1", scheduled_by="''")
    ],
    "proposals_required_object": [_proposal(required="'[]'")],
    "proposals_covered_object": [_proposal(covered="'[]'")],
    "proposals_applied_complete": [
        _proposal(state="'applied'"),
        _proposal(applied="'{}'"),
        _proposal(state="'applied'", applied="'[]'"),
    ],
    "proposal_events_pkey": [
        _all(_PROPOSAL, *(["alter table proposal_events alter id restart", _event()] * 2))
    ],
    "proposal_events_proposal_fkey": [_event(proposal_id="0")],
    "proposal_events_event_known": [_all(_PROPOSAL, _event(event="'closed'"))],
    "proposal_events_version_positive": [_all(_PROPOSAL, _event(version="0"))],
    "proposal_events_approved_keys_object": [_all(_PROPOSAL, _event(approved_keys="'[]'"))],
    "proposal_events_environments_named": [_all(_PROPOSAL, _event(environments="'{}'"))],
    "proposal_events_text_bounded": [_all(_PROPOSAL, _event(text=f"'{'a' * 2001}'"))],
    "proposal_secrets_pkey": [_all(_PROPOSAL, _proposal_secret(), _proposal_secret())],
    "proposal_secrets_proposal_fkey": [_proposal_secret(proposal_id="0")],
    "proposal_secrets_version_positive": [_all(_PROPOSAL, _proposal_secret(version="0"))],
    "access_editions_pkey": [_all("delete from access_editions", _edition(), _edition())],
    "access_editions_part_known": [_edition(part="'zz'"), _edition(part="'-'")],
    "locks_pkey": [_all("delete from locks", _lock(), _lock())],
    "locks_name_known": [_lock(name="'none'")],
    "proposal_visits_pkey": [_all(_PROPOSAL, _visit(), _visit())],
    "proposal_visits_proposal_fkey": [_visit(proposal_id="0")],
    "idempotency_keys_pkey": [_all(_answer(), _answer())],
    "idempotency_keys_key_well_formed": [
        _answer(key=key) for key in ("''", "'a b'", "'é'", r"E'a\t'", f"'{'a' * 201}'")
    ],
    "idempotency_keys_request_length": [_answer(request="''")],
    "idempotency_keys_rights_length": [_answer(rights="''")],
}


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[Connection]:
    """A separate migrated database, which contains only known rows."""
    name = server.create_database("constraints", template="flagstone")
    with server.admin(name) as connection:
        connection.execute("set search_path = flagstone, pg_temp")
        yield connection
    server.drop_database(name)


@pytest.fixture
def connection(database: Connection) -> Iterator[Connection]:
    """Yield a connection, and roll back everything that the test writes."""
    with database.transaction(force_rollback=True):
        yield database


def test_valid_rows_are_accepted(connection: Connection) -> None:
    refusals = []
    for table, statements in GOOD.items():
        first = _CHANGE_SET if table in {"changes", "property_changes"} else ""
        for statement in statements:
            # Deferred constraints are checked only at the end.
            row = _all(first, statement, "set constraints all immediate")
            if refusal := _refusal(connection, row):
                refusals.append((statement, refusal.diag.message_primary))

    assert refusals == []


def test_constraints_refuse_bad_rows(connection: Connection) -> None:
    cases = [(name, statement) for name, bad in BAD.items() for statement in bad]
    refusals = [_refusal(connection, statement) for _, statement in cases]

    names = [refusal and refusal.diag.constraint_name for refusal in refusals]
    wrong = [(*case, name) for case, name in zip(cases, names, strict=True) if case[0] != name]
    assert wrong == []


def _refusal(connection: Connection, statements: str) -> psycopg.errors.IntegrityError | None:
    """Run statements, and take them back."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statements.encode())
    except psycopg.errors.IntegrityError as refusal:
        return refusal
    return None


def test_every_named_constraint_has_a_case(connection: Connection) -> None:
    """Not-null constraints are excluded: version 18 and later generate their names."""
    rows = connection.execute(
        "select conname from pg_constraint where connamespace = 'flagstone'::regnamespace "
        "and contype <> 'n'"
    )

    assert {row[0] for row in rows} == set(BAD), "add a row that violates it to BAD"


def test_every_unique_index_belongs_to_a_named_constraint(connection: Connection) -> None:
    """Our code handles violations by the constraint's name. An index alone has none."""
    rows = connection.execute(
        "select indexrelid::regclass::text from pg_index "
        "join pg_class on pg_class.oid = indexrelid "
        "where relnamespace = 'flagstone'::regnamespace and indisunique and not exists "
        "(select 1 from pg_constraint where conindid = indexrelid)"
    )

    assert rows.fetchall() == []


def test_no_constraint_has_a_generated_name(connection: Connection) -> None:
    """Generated names may differ between servers, and faults.py compares names."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.sql"))
    written = set(re.findall(r"\bconstraint\s+(\w+)", text))
    rows = connection.execute(
        "select conname from pg_constraint where connamespace = 'flagstone'::regnamespace "
        "and contype <> 'n'"
    )

    assert {row[0] for row in rows} - written == set()


def test_every_constraint_is_validated(connection: Connection) -> None:
    rows = connection.execute(
        "select conname from pg_constraint where connamespace = 'flagstone'::regnamespace "
        "and (not convalidated or condeferrable)"
    )

    assert rows.fetchall() == []


def test_tier_is_one_of_four(connection: Connection) -> None:
    with (
        pytest.raises(psycopg.errors.InvalidTextRepresentation),
        connection.transaction(),
    ):
        connection.execute(_environment(tier="'test'").encode())
