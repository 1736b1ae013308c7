"""The examples of the OpenAPI document, by schema; without a schema, by operation and media type.

A test checks each against its schema.
"""

from typing import Any

_EPOCH = "0c7a5b0e-4a45-4d0e-9d43-6d1f5a3f2b11"
_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_TIME = "2026-03-14T09:26:53.589793Z"
_LATER = "2026-06-12T09:26:53.589793Z"
_FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
_MESSAGE = "Give slow card issuers more time"
_CONTEXT = {"targetingKey": "user-42", "country": "KE"}

_SETTING = {"kind": "setting", "value": 8, "schema": {"type": "integer"}, "description": "Seconds"}
_CONFIGURATION = {
    "id": "6f1ed002-ab5f-4b31-8d0b-2c1b5c1a7e55",
    "environment": "production",
    "key": "checkout/timeout",
    **_SETTING,
    "version": 3,
    "updated_revision": 42,
    "created_at": _TIME,
    "updated_at": _TIME,
}
_CHANGE = {
    "key": "checkout/timeout",
    "before": {**_SETTING, "value": 5, "version": 2},
    "after": {**_SETTING, "version": 3},
    "patch": [{"op": "replace", "path": "", "value": 8}],
}
_CHANGE_SET = {
    "environment": "production",
    "revision": 42,
    "kind": "change",
    "actor": "token:deploy",
    "message": _MESSAGE,
    "created_at": _TIME,
    "hash": _HASH,
    "changes": [_CHANGE],
    "changes_count": 1,
    "next": None,
    "properties": None,
}
_ENVIRONMENT = {
    "name": "production",
    "tier": "production",
    "revision": 42,
    "epoch": _EPOCH,
    "hash": _HASH,
    "protected": True,
    "fractional": "v3",
    "metadata": {"team": "shop"},
    "version": 2,
    "first_revision": 1,
}
_OUTCOME = {"key": "new-checkout", "reason": "STATIC", "variant": "on", "value": True}
_TOKEN = {
    "id": "2mYbQ0c8KzT4d",
    "name": "deploy",
    "scopes": ["read", "write"],
    "environments": ["production"],
    "created_by": "token:admin",
    "created_at": _TIME,
    "expires_at": _LATER,
    "revoked_at": None,
    "replaced_by": None,
    "last_used_at": None,
    "remarks": [],
}
_WRITE_CHECK = {
    "status": "pass",
    "componentType": "datastore",
    "observedValue": 1.207,
    "observedUnit": "ms",
    "time": _TIME,
    "ageSeconds": 4.2,
    "consecutiveFailures": 0,
    "row": {
        "id": 1042,
        "status": "ok",
        "checked_at": _TIME,
        "latency_ms": 1.207,
        "instance": "flagstone-1",
    },
}
_JSON_FILE = {"flagstone": 1, "entries": {"checkout/timeout": {"kind": "setting", "value": 8}}}
_YAML_FILE = "flagstone: 1\nentries:\n  checkout/timeout:\n    kind: setting\n    value: 8\n"
_ENV_FILE = "CHECKOUT_TIMEOUT=8\n"

EXAMPLES: dict[str, Any] = {
    "AccessPage": {
        "items": [
            {
                "id": 7,
                "at": _TIME,
                "last_at": _TIME,
                "count": 1,
                "event": "authz_admin",
                "decision": "allowed",
                "actor": "token:admin",
                "token_id": "2mYbQ0c8KzT4d",
                "client": "192.0.2.7",
                "request_id": "3f1c9a0d5e7b2468000000000042",
                "method": "POST",
                "route": "/v1/environments",
                "environment": "shop-preview",
                "resource": None,
                "version": None,
                "detail": None,
            }
        ],
        "next": None,
    },
    "ProbeStatus": {"status": "pass"},
    "ChangeSetPage": {"items": [_CHANGE_SET], "next": None},
    "ChangeSetView": _CHANGE_SET,
    "Configuration": _CONFIGURATION,
    "ConfigurationPage": {"items": [_CONFIGURATION], "next": None, "revision": 42},
    "Difference": {"changes": [_CHANGE], "next": None, "properties": None},
    "Environment": _ENVIRONMENT,
    "EnvironmentList": {"items": [_ENVIRONMENT]},
    "EvaluationQuery": {"context": _CONTEXT, "revision": 42},
    "EvaluationRequest": {"context": _CONTEXT},
    "Evaluations": {
        "flags": [_OUTCOME],
        "metadata": {"team": "shop"},
        "eventStreams": [
            {
                "type": "sse",
                "url": "https://flags.example.com/ofrep/v1/streams/TICKET",
                "inactivityDelaySec": 120,
            }
        ],
    },
    "ChangeEventData": {
        "environment": "production",
        "revision": 42,
        "kind": "change",
        "actor": "token:deploy",
        "message": _MESSAGE,
        "created_at": _TIME,
        "keys": ["checkout/timeout"],
        "properties": False,
    },
    "ExplainedEvaluation": {
        "outcome": _OUTCOME | {"reason": "TARGETING_MATCH"},
        "revision": 42,
        "steps": [{"place": "targeting", "operator": "==", "operands": ["KE", "KE"]}],
        "is_complete": True,
    },
    "FlagUsage": {
        "items": [
            {
                "key": "new-checkout",
                "created_at": _TIME,
                "last_evaluated_at": _LATER,
                "count": 5_120,
                "outcomes": [
                    {
                        "reason": "STATIC",
                        "variant": "on",
                        "count": 5_120,
                        "last_evaluated_at": _LATER,
                    }
                ],
                "remarks": ["always gives on"],
            }
        ]
    },
    "ImportResult": {
        "environment": "production",
        "revision": 42,
        "epoch": _EPOCH,
        "created": [],
        "updated": ["checkout/timeout"],
        "deleted": [],
        "unchanged": 17,
        "warnings": [],
    },
    "IssuedToken": {"text": "fs_api_2mYbQ0c8KzT4d_SECRET", "token": _TOKEN},
    "KeyHistory": {
        "items": [
            {
                "revision": 42,
                "kind": "change",
                "actor": "token:deploy",
                "message": _MESSAGE,
                "created_at": _TIME,
                "before": _CHANGE["before"],
                "after": _CHANGE["after"],
            }
        ],
        "next": None,
    },
    "AppliedChangeSets": {
        "change_sets": [
            {
                "environment": "production",
                "revision": 42,
                "epoch": _EPOCH,
                "changes": [_CHANGE],
                "changes_count": 1,
            }
        ]
    },
    "MigrationList": {
        "items": [
            {
                "name": "1696234567890-CreateHealthCheckTable",
                "kind": "schema",
                "phase": "core",
                "state": "applied",
                "checksum": _HASH,
                "instance": "flagstone-1",
                "applied_at": _TIME,
                "applied_by": "flagstone_migrator",
                "duration_ms": 12,
            }
        ]
    },
    "NewChangeSet": {
        "operations": [
            {"op": "put", "key": "checkout/timeout", "version": 2, "value": 8},
            {"op": "delete", "key": "checkout/retries", "version": 1},
        ],
        "message": _MESSAGE,
    },
    "NewConfiguration": {"value": _FLAG, "kind": "flag", "message": "Turn on the new checkout"},
    "NewEnvironment": {"name": "shop-preview", "tier": "staging", "metadata": {"team": "shop"}},
    "EnvironmentPatch": {"metadata": {"team": "shop"}, "protected": False},
    "PromotionRequest": {"from": "staging", "keys": ["new-checkout"], "message": "Release 4.2"},
    "RestoreRequest": {"revision": 41, "message": "Undo release 4.2"},
    "RevertRequest": {"message": "The new timeout was too long"},
    "RotationRequest": {"grace_seconds": 86_400},
    "NewToken": {
        "name": "deploy",
        "scopes": ["read", "write"],
        "environments": ["production"],
        "expires_days": 90,
    },
    "Outcome": _OUTCOME,
    "Readiness": {"status": "pass", "checks": {"database:write": [_WRITE_CHECK]}},
    "RefetchEvent": {
        "type": "refetchEvaluation",
        "etag": f"{_EPOCH}:42",
        "lastModified": 1_773_480_413,
    },
    "HealthReport": {
        "status": "pass",
        "version": "1",
        "releaseId": "0.1.0",
        "serviceId": "flagstone",
        "instance": "flagstone-1",
        "checks": {"database:write": [_WRITE_CHECK]},
    },
    "SchemaAuditPage": {
        "status": "recording",
        "reason": None,
        "items": [
            {
                "id": 3,
                "at": _TIME,
                "session_role": "flagstone_migrator",
                "acting_role": "flagstone_owner",
                "application": "flagstone",
                "client": None,
                "tag": "CREATE INDEX",
                "object_type": "index",
                "object": "flagstone.tokens_name",
                "is_direct": True,
                "statement": "create index tokens_name on flagstone.tokens (name)",
            }
        ],
        "next": None,
    },
    "TokenPage": {"items": [_TOKEN], "next": None},
    "TokenView": _TOKEN,
    "WriteResult": {
        "environment": "production",
        "key": "checkout/timeout",
        "version": 3,
        "revision": 42,
        "epoch": _EPOCH,
        "created": False,
    },
    "getOpenapiDocument": {
        "application/json": {"openapi": "3.1.0", "info": {"title": "Flagstone", "version": "0.1.0"}}
    },
    "getDocumentationPage": {"text/html": "<!doctype html><title>Flagstone API</title>"},
    "getDocumentationScript": {"text/javascript": "/*! OpenAPI Explorer */"},
    "getMetrics": {
        "text/plain": "flagstone_audit_broken_chains 0.0\n",
        "application/openmetrics-text": "flagstone_audit_broken_chains 0.0\n# EOF\n",
    },
    "getFlagdDocument": {
        "application/json": {"flags": {"new-checkout": _FLAG}, "metadata": {"team": "shop"}}
    },
    "exportEnvironment": {
        "application/json": _JSON_FILE,
        "application/yaml": _YAML_FILE,
        "text/plain": _ENV_FILE,
    },
    "importEnvironment": {
        "application/json": _JSON_FILE,
        "application/yaml": _YAML_FILE,
        "application/x-yaml": _YAML_FILE,
        "text/yaml": _YAML_FILE,
        "text/plain": _ENV_FILE,
    },
}
