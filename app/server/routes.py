"""All URLs on one page: method, path, handler, required scope, and the types of the bodies.

The guard, the router and the OpenAPI document are built from this list, so they cannot differ.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from app.access import log_handlers as access_log
from app.access import token_handlers as tokens
from app.access.guard import guarded, hot_guarded
from app.access.log_handlers import AccessPage
from app.access.models import Scope
from app.access.people import explain_handlers as explain
from app.access.people import handlers as people
from app.access.people import project_handlers as projects
from app.access.people import role_handlers as roles
from app.access.people.views import (
    AccessCheck,
    AccessHistoryPage,
    GrantPage,
    GrantView,
    Me,
    NewGrant,
    NewProject,
    NewRole,
    PersonPage,
    PersonView,
    ProjectChange,
    ProjectList,
    ProjectView,
    RoleChange,
    RoleList,
    RoleView,
    SuspensionRequest,
    WhoMay,
)
from app.access.token_views import IssuedToken, NewToken, RotationRequest, TokenPage, TokenView
from app.configuration.changes import environment_handlers as environments
from app.configuration.changes import handlers as changes
from app.configuration.changes.plan_control import PlanCommand
from app.configuration.changes.requests import (
    EnvironmentPatch,
    NewChangeSet,
    NewEnvironment,
    PromotionRequest,
    RestoreRequest,
    RevertRequest,
)
from app.configuration.changes.views import (
    AppliedChangeSets,
    ChangeSetPage,
    ChangeSetView,
    Difference,
    KeyHistory,
)
from app.configuration.entries import handlers as configurations
from app.configuration.entries.models import ConfigurationPage, NewConfiguration, WriteResult
from app.configuration.lists import handlers as lists
from app.configuration.lists.models import ListPage, ListPatch, ListResult
from app.configuration.proposals import handlers as proposals
from app.configuration.proposals.event_stream import stream_proposal_events
from app.configuration.proposals.requests import (
    Comment,
    NewProposal,
    ProposalPatch,
    ProposalRemark,
    ProposalSchedule,
    Rejection,
)
from app.configuration.proposals.views import ProposalEventData, ProposalPage, ProposalView
from app.configuration.snapshots.change_event import ChangeEventData
from app.configuration.snapshots.change_stream import stream_events
from app.configuration.snapshots.snapshot import Configuration
from app.configuration.transfer import handlers as transfer
from app.configuration.transfer.import_requests import IMPORT_BYTES_MAX
from app.configuration.transfer.service import ImportResult
from app.environments.models import Environment, EnvironmentList
from app.evaluation.engine import Outcome
from app.flags import handlers as flags
from app.flags import plan_handlers as plans
from app.flags.flagd_sync import handlers as flagd_sync
from app.flags.flagd_sync.connect import ConnectError, with_connect_errors
from app.flags.flagd_sync.handlers import FetchedFlags, FlagsRequest, SyncMetadata
from app.flags.ofrep import handlers as ofrep
from app.flags.ofrep.answers import EvaluationFailure, hot_with_ofrep_errors, with_ofrep_errors
from app.flags.ofrep.cors import preflight
from app.flags.ofrep.streams import RefetchEvent, stream_flag_changes
from app.flags.ofrep.tickets import STREAM_PATH
from app.flags.plan_views import PlanControl, PlanView
from app.flags.preview_views import Preview, PreviewRequest
from app.flags.proposals.handlers import evaluate_proposed_flag, preview_proposal
from app.flags.proposals.views import ProposalPreview, ProposedEvaluationQuery
from app.flags.views import (
    EvaluationQuery,
    EvaluationRequest,
    Evaluations,
    ExplainedEvaluation,
    FlagUsage,
)
from app.health import handlers as health
from app.health.handlers import HealthReport, Readiness
from app.http import documentation, home, wire
from app.http.decoder import CONTEXT_BYTES_MAX
from app.http.fast_path import HOT_ANSWERS
from app.http.frame import with_deadline, with_large_data
from app.http.keys import Handler
from app.http.routing import Route, expect
from app.operations.metrics import handlers as metrics
from app.relay import routes as relay_routes
from app.schema import handlers as audit
from app.schema.models import MigrationList, SchemaAuditPage

_ENVIRONMENT = "/v1/environments/{environment}"
_CONFIGURATIONS = _ENVIRONMENT + "/configurations"
# Not .+, which stops at a line break: the rule for keys refuses such a key. A key may contain
# slashes. In a key that ends in /history, that slash is written as %2F for every method. So no URL
# has one meaning for GET and another for PUT.
_CONFIGURATION = _CONFIGURATIONS + r"/{key:[\s\S]+(?<!/history)}"
_HISTORY = _CONFIGURATIONS + r"/{key:[\s\S]+}/history"
_CHANGES = _ENVIRONMENT + "/changes"
# As for a key that ends in /history.
_LIST = _ENVIRONMENT + r"/lists/{key:[\s\S]+(?<!/values)(?<!/export)}"
_OF_LIST = _ENVIRONMENT + r"/lists/{key:[\s\S]+}"
_ISSUED = "/v1/tokens/{id}"
_PERSON = "/v1/people/{id}"
_ROLE = "/v1/roles/{name}"
_GRANT = "/v1/grants/{id}"
_PROJECT = "/v1/projects/{name}"
_QUESTION = ("scope", "environment", "key")
_PROPOSAL = "/v1/proposals/{proposal:[0-9]{1,18}}"
_CHANGE_SET = _CHANGES + "/{revision:[0-9]{1,18}}"

_PLAN = _ENVIRONMENT + r"/flags/{key:[\s\S]+}/plan"

_PROBE = (200, 503)
_HEALTH = (health.CONTENT_TYPE,)
_PAGE = ("before", "limit")
_DRY_RUN = ("dry_run",)
# Of the writes that an environment can be protected from.
_WRITE = ("dry_run", "emergency", "propose")
_GATED: dict[str, Any] = {"within": proposals.with_proposals, "accepted": ProposalView}
_REPEATABLE = ("Idempotency-Key",)
_PROPOSABLE = ("Idempotency-Key", "Prefer")
_DECISION = ("If-Match", "Idempotency-Key")
_REVISION = ("Flagstone-Revision",)
_STALE = ("Flagstone-Stale",)
_MOMENT = _REVISION + _STALE
_SEEN = ("flagConfigEtag", "flagConfigLastModified")
_OFREP: dict[str, Any] = {
    "around": with_ofrep_errors,
    "around_hot": hot_with_ofrep_errors,
    "failure": EvaluationFailure,
    "has_cors": True,
    "only_reads": True,
    "by_key": True,
    "body_bytes_max": CONTEXT_BYTES_MAX,
}
# OFREP answers every key, even an empty one, with its own error for a flag that is not found.
_FLAGS = "/ofrep/v1/evaluate/flags"
_FLAG = _FLAGS + r"/{key:[\s\S]*}"
# The methods of flagd's sync service, in the Connect protocol.
_SYNC_SERVICE = "/flagd.sync.v1.FlagSyncService"
_CONNECT: dict[str, Any] = {
    "around": with_connect_errors,
    "failure": ConnectError,
    "only_reads": True,
    "by_key": True,
    "body_bytes_max": flagd_sync.REQUEST_BYTES_MAX,
}
# The answers of these routes contain the state before the change.
_READS = (Scope.READ,)

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route("GET", "/health/live", health.get_liveness, None, health.ProbeStatus, gives=_HEALTH,
          hot=health.hot_liveness),
    Route("GET", "/health/started", health.get_startup, None, health.ProbeStatus, statuses=_PROBE,
          gives=_HEALTH),
    Route("GET", "/health/ready", health.get_readiness, None, Readiness, statuses=_PROBE,
          gives=_HEALTH, hot=health.hot_readiness),
    Route("GET", "/health", health.get_health, Scope.READ, HealthReport, statuses=_PROBE,
          gives=_HEALTH),

    Route("GET", "/metrics", metrics.get_metrics, Scope.READ, str,
          gives=("text/plain", "application/openmetrics-text")),

    Route("GET", "/", home.get_home, None, dict, statuses=(200, 303), headers=("Location",)),
    Route("GET", "/openapi.json", documentation.get_openapi_document, None, dict),
    Route("GET", "/docs", documentation.get_documentation_page, None, str, gives=("text/html",)),
    Route("GET", documentation.VIEWER_PATH, documentation.get_documentation_script, None, str,
          gives=("text/javascript",), conditions=("If-None-Match",), statuses=(200, 304),
          headers=("ETag",)),

    # The most frequent requests. The router tries paths with the same prefix in this order.
    Route("GET", _CONFIGURATION, configurations.get_configuration, Scope.READ, Configuration,
          query=("revision", "at", "min_revision", "reveal"), conditions=("If-None-Match",),
          statuses=(200, 304), headers=("ETag", *_MOMENT), hot=configurations.hot_configuration,
          by_key=True),
    Route("PUT", _CONFIGURATION, configurations.put_configuration, Scope.PROPOSE, WriteResult,
          by_key=True, body=NewConfiguration, query=_WRITE, statuses=(200, 201),
          conditions=("If-Match", "If-None-Match", "Idempotency-Key", "Prefer"),
          headers=("ETag", "Location", *_REVISION), **_GATED),
    Route("DELETE", _CONFIGURATION, configurations.delete_configuration, Scope.PROPOSE, WriteResult,
          by_key=True, query=("message", *_WRITE),
          conditions=("If-Match", "Idempotency-Key", "Prefer"), headers=_REVISION, **_GATED),

    # The paths of OFREP need a token for one environment. Those below an environment do not.
    Route("POST", _FLAG, ofrep.evaluate_flag, Scope.EVALUATE, Outcome, body=EvaluationRequest,
          query=_SEEN, headers=_MOMENT, hot=ofrep.hot_flag, **_OFREP),
    Route("POST", _FLAGS, ofrep.evaluate_flags, Scope.EVALUATE, Evaluations, body=EvaluationRequest,
          query=_SEEN, conditions=("If-None-Match",), statuses=(200, 304),
          headers=("ETag", *_MOMENT), hot=ofrep.hot_flags, **_OFREP),
    Route("GET", STREAM_PATH + "{ticket}", stream_flag_changes, None, RefetchEvent,
          gives=("text/event-stream",), conditions=("Last-Event-ID",), **_OFREP),
    Route("POST", _ENVIRONMENT + _FLAG, ofrep.evaluate_flag, Scope.EVALUATE, Outcome,
          body=EvaluationRequest, query=_SEEN, headers=_MOMENT, hot=ofrep.hot_flag, **_OFREP),
    Route("POST", _ENVIRONMENT + _FLAGS, ofrep.evaluate_flags, Scope.EVALUATE, Evaluations,
          body=EvaluationRequest, query=_SEEN, conditions=("If-None-Match",), statuses=(200, 304),
          headers=("ETag", *_MOMENT), hot=ofrep.hot_flags, **_OFREP),

    Route("GET", _HISTORY, changes.list_configuration_history, Scope.READ, KeyHistory,
          by_key=True, query=_PAGE),
    Route("GET", _CONFIGURATIONS, configurations.list_configurations, Scope.READ, ConfigurationPage,
          query=("prefix", "kind", "after", "limit", "revision", "at", "min_revision"),
          headers=_MOMENT, hot=configurations.hot_configurations, by_key=True),

    Route("GET", _OF_LIST + "/values", lists.list_values, Scope.READ, ListPage, by_key=True,
          query=("value", "after", "limit", "revision", "at"), headers=("ETag", *_REVISION)),
    Route("GET", _OF_LIST + "/export", lists.export_list, Scope.READ, str,
          by_key=True, query=("type", "revision", "at"), gives=lists.UPLOAD_TYPES,
          headers=("ETag", *_REVISION)),
    Route("PUT", _LIST, lists.upload_list, Scope.PROPOSE, ListResult, body=str, also=_READS,
          by_key=True, takes=lists.UPLOAD_TYPES, body_bytes_max=lists.UPLOAD_BYTES_MAX,
          query=("operation", "message", "description", *_WRITE), statuses=(200, 201),
          conditions=("If-Match", "If-None-Match", "Prefer"), headers=("ETag", *_REVISION),
          **_GATED),
    Route("PATCH", _LIST, lists.patch_list, Scope.PROPOSE, ListResult, body=ListPatch,
          also=_READS, by_key=True, takes=wire.MERGE_PATCH, query=_WRITE,
          conditions=("If-Match", "Idempotency-Key", "Prefer"), headers=("ETag", *_REVISION),
          **_GATED),

    Route("GET", "/v1/environments", environments.list_environments, Scope.READ, EnvironmentList,
          by_key=True, headers=_STALE),
    Route("POST", "/v1/environments", environments.create_environment, Scope.ADMIN, Environment,
          body=NewEnvironment, query=_DRY_RUN, statuses=(200, 201), conditions=_REPEATABLE,
          headers=("Location", *_REVISION)),
    Route("GET", _ENVIRONMENT, environments.get_environment, Scope.READ, Environment,
          by_key=True, query=("revision", "at", "min_revision"), headers=_MOMENT),
    Route("PATCH", _ENVIRONMENT, environments.patch_environment, Scope.PROPOSE, AppliedChangeSets,
          body=EnvironmentPatch, query=_WRITE, takes=wire.MERGE_PATCH,
          conditions=("If-Match", "Idempotency-Key", "Prefer"), headers=_REVISION, **_GATED),

    Route("DELETE", _ENVIRONMENT, environments.delete_environment, Scope.ADMIN, Environment,
          query=("message", "dry_run"), conditions=("If-Match", "Idempotency-Key"),
          headers=_REVISION),

    Route("GET", _ENVIRONMENT + "/flags/usage", flags.list_flag_usage, Scope.READ, FlagUsage,
          by_key=True),
    Route("POST", _ENVIRONMENT + r"/flags/{key:[\s\S]+}/evaluate", flags.explain_flag,
          Scope.READ, ExplainedEvaluation, body=EvaluationQuery, query=("min_revision",),
          body_bytes_max=CONTEXT_BYTES_MAX, headers=_MOMENT, is_large=True, by_key=True),
    Route("GET", _PLAN, plans.get_plan, Scope.READ, PlanView, query=("at", "min_revision"),
          headers=_MOMENT, by_key=True),
    Route("POST", _PLAN + f"/{{action:{'|'.join(PlanCommand)}}}", plans.control_flag_plan,
          Scope.PROPOSE, WriteResult, by_key=True, body=PlanControl, query=_WRITE,
          conditions=("If-Match", *_PROPOSABLE), headers=("ETag", *_REVISION), **_GATED),
    Route("POST", _ENVIRONMENT + "/preview", flags.preview_changes, Scope.READ, Preview,
          body=PreviewRequest, query=("min_revision",), headers=_MOMENT, is_large=True,
          by_key=True),

    Route("GET", _CHANGES, changes.list_change_sets, Scope.READ, ChangeSetPage, by_key=True,
          query=_PAGE),
    Route("POST", _CHANGES, changes.create_change_set, Scope.PROPOSE, AppliedChangeSets,
          by_key=True, body=NewChangeSet, query=_WRITE, conditions=_PROPOSABLE,
          headers=_REVISION, **_GATED),
    Route("GET", _ENVIRONMENT + "/events", stream_events, Scope.READ, ChangeEventData,
          query=("prefix", "min_revision"), conditions=("Last-Event-ID",),
          gives=("text/event-stream",), headers=_MOMENT, by_key=True),
    Route("GET", _CHANGE_SET, changes.get_change_set, Scope.READ, ChangeSetView,
          by_key=True, query=("after", "limit")),
    Route("POST", _CHANGE_SET + "/revert", changes.revert_change_set, Scope.PROPOSE,
          AppliedChangeSets, by_key=True, body=RevertRequest, query=_WRITE, conditions=_PROPOSABLE,
          also=_READS, headers=_REVISION, is_large=True, **_GATED),
    Route("POST", _ENVIRONMENT + "/restore", changes.restore_environment, Scope.PROPOSE,
          AppliedChangeSets, by_key=True, body=RestoreRequest, query=_WRITE, conditions=_PROPOSABLE,
          also=_READS, headers=_REVISION, is_large=True, **_GATED),
    Route("POST", _ENVIRONMENT + "/promote", changes.promote_keys, Scope.PROPOSE, AppliedChangeSets,
          by_key=True, body=PromotionRequest, query=_WRITE, conditions=_PROPOSABLE, also=_READS,
          headers=_REVISION, is_large=True, **_GATED),
    Route("GET", _ENVIRONMENT + "/export", transfer.export_environment, Scope.READ, bytes,
          query=("format", "revision", "at", "min_revision", "reveal"),
          gives=("application/json", "application/yaml", "text/plain"),
          headers=("Content-Disposition", *_MOMENT), is_large=True, by_key=True),
    Route("GET", _ENVIRONMENT + "/flags.json", transfer.get_flagd_document, Scope.READ, dict,
          query=("min_revision",), conditions=("If-None-Match",), statuses=(200, 304),
          headers=("ETag", *_MOMENT), by_key=True),
    Route("GET", "/v1/flags", flagd_sync.get_flags, Scope.READ, dict,
          conditions=("Flagd-Selector", "If-None-Match", "If-Modified-Since"), statuses=(200, 304),
          headers=("ETag", "Last-Modified", "Vary", *_MOMENT), by_key=True),
    Route("POST", _SYNC_SERVICE + "/FetchAllFlags", flagd_sync.fetch_all_flags, Scope.READ,
          FetchedFlags, body=FlagsRequest, conditions=("Flagd-Selector",), headers=_MOMENT,
          **_CONNECT),
    Route("POST", _SYNC_SERVICE + "/GetMetadata", flagd_sync.get_metadata, Scope.READ,
          SyncMetadata, body=dict, **_CONNECT),
    Route("POST", _ENVIRONMENT + "/import", transfer.import_environment, Scope.PROPOSE,
          ImportResult, by_key=True, body=bytes, takes=tuple(transfer.FORMATS),
          body_bytes_max=IMPORT_BYTES_MAX,
          query=("format", "mode", "message", "lenient", "secret", *_WRITE),
          conditions=_PROPOSABLE, also=_READS, headers=_REVISION, is_large=True, **_GATED),
    Route("GET", "/v1/access-log", access_log.list_access_log, Scope.ADMIN, AccessPage,
          query=(*_PAGE, "event", "environment")),
    Route("GET", "/v1/schema-audit", audit.list_schema_changes, Scope.ADMIN, SchemaAuditPage,
          query=_PAGE),
    Route("GET", "/v1/migrations", audit.list_migrations, Scope.READ, MigrationList),
    Route("GET", _ENVIRONMENT + "/diff", changes.get_difference, Scope.READ, Difference,
          by_key=True, query=("from", "to", "against", "after", "limit"), is_large=True),

    Route("GET", "/v1/proposals", proposals.list_proposals, Scope.READ, ProposalPage, by_key=True,
          query=("state", "environment", "author", *_PAGE)),
    Route("POST", "/v1/proposals", proposals.create_proposal, Scope.PROPOSE, ProposalView,
          by_key=True, body=NewProposal, statuses=(201,), conditions=_REPEATABLE,
          headers=("Location",), is_large=True),
    Route("GET", "/v1/proposals/events", stream_proposal_events, Scope.READ, ProposalEventData,
          by_key=True, conditions=("Last-Event-ID",), gives=("text/event-stream",)),
    Route("GET", _PROPOSAL, proposals.get_proposal, Scope.READ, ProposalView, by_key=True),
    Route("GET", _PROPOSAL + "/preview", preview_proposal, Scope.READ, ProposalPreview,
          by_key=True, query=("environment",), is_large=True),
    Route("POST", _PROPOSAL + "/evaluate", evaluate_proposed_flag, Scope.READ, ExplainedEvaluation,
          by_key=True, body=ProposedEvaluationQuery, body_bytes_max=CONTEXT_BYTES_MAX,
          headers=_MOMENT, is_large=True),
    Route("PATCH", _PROPOSAL, proposals.edit_proposal, Scope.PROPOSE, ProposalView, also=_READS,
          by_key=True, body=ProposalPatch, takes=wire.MERGE_PATCH, conditions=_DECISION,
          is_large=True),
    Route("POST", _PROPOSAL + "/submit", proposals.submit_proposal, Scope.PROPOSE, ProposalView,
          also=_READS, by_key=True, body=ProposalRemark, conditions=_REPEATABLE, is_large=True),
    Route("POST", _PROPOSAL + "/approve", proposals.approve_proposal, Scope.APPROVE, ProposalView,
          also=_READS, by_key=True, body=ProposalRemark, conditions=_DECISION, is_large=True),
    Route("POST", _PROPOSAL + "/reject", proposals.reject_proposal, Scope.APPROVE, ProposalView,
          also=_READS, by_key=True, body=Rejection, conditions=_REPEATABLE),
    Route("POST", _PROPOSAL + "/comment", proposals.comment_on_proposal, Scope.READ, ProposalView,
          by_key=True, body=Comment, conditions=_REPEATABLE),
    Route("POST", _PROPOSAL + "/withdraw", proposals.withdraw_proposal, Scope.PROPOSE, ProposalView,
          also=_READS, by_key=True, body=ProposalRemark, conditions=_REPEATABLE),
    Route("POST", _PROPOSAL + "/schedule", proposals.schedule_proposal, Scope.WRITE, ProposalView,
          also=_READS, by_key=True, body=ProposalSchedule, conditions=_DECISION, is_large=True),
    Route("POST", _PROPOSAL + "/apply", proposals.apply_proposal, Scope.WRITE, ProposalView,
          also=_READS, by_key=True, body=ProposalRemark, query=("emergency",), conditions=_DECISION,
          is_large=True),

    Route("GET", "/v1/tokens", tokens.list_tokens, Scope.ADMIN, TokenPage,
          query=("after", "limit"), by_key=True),
    Route("POST", "/v1/tokens", tokens.create_token, Scope.ADMIN, IssuedToken, body=NewToken,
          statuses=(201,), conditions=_REPEATABLE, headers=("Location",), by_key=True),
    Route("GET", _ISSUED, tokens.get_token, Scope.ADMIN, TokenView, by_key=True),
    Route("DELETE", _ISSUED, tokens.revoke_token, Scope.ADMIN, TokenView, by_key=True),
    Route("POST", _ISSUED + "/rotate", tokens.rotate_token, Scope.ADMIN, IssuedToken,
          body=RotationRequest, statuses=(201,), conditions=_REPEATABLE, headers=("Location",),
          by_key=True),

    Route("GET", "/v1/me", explain.get_me, None, Me, any_scope=True),
    Route("GET", "/v1/people", people.list_people, Scope.ADMIN, PersonPage,
          query=("search", "group", "after", "limit"), by_key=True),
    Route("GET", _PERSON, people.get_person, Scope.ADMIN, PersonView, by_key=True),
    Route("POST", _PERSON + "/suspend", people.suspend_person, Scope.ADMIN, PersonView,
          body=SuspensionRequest, conditions=_REPEATABLE),
    Route("POST", _PERSON + "/restore", people.restore_person, Scope.ADMIN, PersonView,
          body=SuspensionRequest, conditions=_REPEATABLE),
    Route("GET", "/v1/roles", roles.list_roles, Scope.ADMIN, RoleList, by_key=True),
    Route("POST", "/v1/roles", roles.create_role, Scope.ADMIN, RoleView, body=NewRole,
          statuses=(201,), conditions=_REPEATABLE, headers=("Location", "ETag")),
    Route("GET", _ROLE, roles.get_role, Scope.ADMIN, RoleView, headers=("ETag",), by_key=True),
    Route("PUT", _ROLE, roles.put_role, Scope.ADMIN, RoleView, body=RoleChange,
          conditions=_DECISION, headers=("ETag",)),
    Route("DELETE", _ROLE, roles.delete_role, Scope.ADMIN, RoleView, query=("reason",),
          conditions=_DECISION),
    Route("GET", "/v1/grants", people.list_grants, Scope.ADMIN, GrantPage, by_key=True,
          query=("person", "group", "role", "environment", "project", "after", "limit")),
    Route("POST", "/v1/grants", people.create_grant, Scope.ADMIN, GrantView, body=NewGrant,
          statuses=(201,), conditions=_REPEATABLE, headers=("Location",), by_key=True),
    Route("GET", _GRANT, people.get_grant, Scope.ADMIN, GrantView, by_key=True),
    Route("DELETE", _GRANT, people.revoke_grant, Scope.ADMIN, GrantView, query=("reason",),
          required=("reason",), conditions=_REPEATABLE, by_key=True),
    Route("GET", "/v1/projects", projects.list_projects, Scope.ADMIN, ProjectList, by_key=True),
    Route("POST", "/v1/projects", projects.create_project, Scope.ADMIN, ProjectView,
          body=NewProject, statuses=(201,), conditions=_REPEATABLE, headers=("Location", "ETag"),
          by_key=True),
    Route("GET", _PROJECT, projects.get_project, Scope.ADMIN, ProjectView, headers=("ETag",),
          by_key=True),
    Route("PATCH", _PROJECT, projects.patch_project, Scope.ADMIN, ProjectView, body=ProjectChange,
          takes=wire.MERGE_PATCH, conditions=_DECISION, headers=("ETag",), by_key=True),
    Route("DELETE", _PROJECT, projects.delete_project, Scope.ADMIN, ProjectView, query=("reason",),
          conditions=_DECISION, by_key=True),
    Route("GET", "/v1/access/history", people.list_access_history, Scope.ADMIN, AccessHistoryPage,
          query=(*_PAGE, "access_event", "subject"), by_key=True),
    Route("GET", "/v1/access/who", explain.list_who_may, Scope.ADMIN, WhoMay, by_key=True,
          query=(*_QUESTION, "after", "limit"), required=_QUESTION),
    Route("GET", "/v1/access/check", explain.check_access, Scope.ADMIN, AccessCheck, by_key=True,
          query=("actor", *_QUESTION), required=("actor", *_QUESTION)),
)
# fmt: on
# The texts and examples of the API's documentation.
API_TEXTS = Path(__file__).parent / "api"


def describe() -> dict[str, Any]:
    """Return the OpenAPI document of the service."""
    # Few instances are asked for it.
    from app.http.api_texts import ApiTexts  # noqa: PLC0415
    from app.http.openapi import document  # noqa: PLC0415

    return document(ROUTES, ApiTexts(API_TEXTS))


def add_routes(app: web.Application) -> None:
    """Add every route to the application, behind the guard if it needs a scope."""
    begin_routes(app)
    for route in (*ROUTES, *relay_routes.OF_SERVICE):
        add_route(app, route)


def begin_routes(app: web.Application) -> None:
    """Create the objects that the routes share."""
    app[HOT_ANSWERS] = {}
    app[ofrep.SKIPS] = Counter()
    app[flagd_sync.FIRST_SEEN] = flagd_sync.FirstSeen()
    app[documentation.DOCUMENTATION] = documentation.Documentation(describe)


def add_route(
    app: web.Application, route: Route, outside: Callable[[Handler], Handler] = lambda h: h
) -> None:
    """Add a route. `outside` is a wrapper outside the guard."""
    handler = route.handler if route.within is None else route.within(route.handler)
    invite = partial(expect, bytes_max=route.body_bytes_max)
    scopes = [Scope(scope) for scope in (route.scope, *route.also) if scope is not None]
    if route.needs_token:
        handler = guarded(handler, scopes, by_key=route.by_key)
    if route.is_large:
        handler = with_large_data(handler)
    if route.writes:
        handler = with_deadline(handler)
    if route.around is not None:
        handler = route.around(handler)
    if route.has_cors:
        app.router.add_route("OPTIONS", route.path, preflight)
    handler = outside(handler)
    added = app.router.add_route(route.method, route.path, handler, expect_handler=invite)
    if route.hot is not None:
        hot = hot_guarded(route.hot, scopes, by_key=route.by_key) if scopes else route.hot
        app[HOT_ANSWERS][added] = route.around_hot(hot)
    if route.method == "GET":
        app.router.add_route("HEAD", route.path, handler, expect_handler=invite)
