"""The rights of each role to each table. Every run of the migrator grants them.

Rights are granted by table name, not by default privileges: only the backup role can read a table
that is not listed here. Without that right pg_dump would fail.
"""

from app.database.role_names import BACKUP, READONLY

# Rights of the app role. History is append-only: the service cannot rewrite it.
TABLES = {
    "migrations": "select",
    "health_check": "select, insert, update, delete",
    "environments": "select, insert, update",
    "configurations": "select, insert, update, delete",
    "change_sets": "select, insert",
    "changes": "select, insert",
    "property_changes": "select, insert",
    "list_stores": "select, insert, update, delete",
    "list_values": "select, insert, update, delete",
    "list_states": "select, insert",
    "tokens": "select, insert, update",
    "sessions": "select, insert, update, delete",
    "sign_in_codes": "select, insert, update, delete",
    "oidc_sessions": "select, insert, update, delete",
    "oidc_uses": "select, insert, delete",
    # A person stays, so that names in the history stay.
    "people": "select, insert, update",
    "roles": "select, insert, update, delete",
    "grants": "select, insert, update, delete",
    "projects": "select, insert, update, delete",
    "access_history": "select, insert",
    # Triggers write it, as the owner.
    "access_editions": "select",
    # An update takes a lock. The other roles cannot take one.
    "locks": "select, insert, update",
    "idempotency_keys": "select, insert, update, delete",
    "flag_usage": "select, insert, update",
    "flag_usage_hours": "select, insert, update, delete",
    "plan_steps": "select, insert, update, delete",
    # Only commands of the operator, as the owner, change or destroy a data key.
    "data_keys": "select, insert",
    "access_log": "select, insert",
    "proposals": "select, insert, update",
    "proposal_events": "select, insert",
    "proposal_secrets": "select, insert, delete",
    "proposal_visits": "select, insert, update",
    "schema_fingerprints": "select",
}
SEQUENCES = {"health_check_id_seq": "usage"}
# Tables whose rows the service can neither update nor delete.
APPEND_ONLY = tuple(
    table for table, rights in TABLES.items() if not {"update", "delete"} & {*rights.split(", ")}
)


def rights_of(role: str, relation: str) -> set[str]:
    """Return the rights of a role to a table or sequence, as PostgreSQL names them."""
    listed = {**TABLES, **SEQUENCES}.get(relation)
    if role == BACKUP:
        return {"select"}
    if role == READONLY:
        # pg_dump also reads sequences.
        return {"select"} if relation in TABLES or relation.endswith("_seq") else set()
    return set(listed.split(", ")) if listed else set()
