"""The pages of the console, and their registration behind the guard."""

from dataclasses import dataclass
from functools import partial

from aiohttp import web

from app.access.models import Scope
from app.access.sessions.guard import guarded_page
from app.configuration.snapshots.reading import with_snapshot
from app.console import home, provider_sign_in, sign_in
from app.console.access import session_pages, token_pages
from app.console.changes import handlers as changes
from app.console.changes import plan_handlers as plan_pages
from app.console.compare.handlers import get_compare, post_promote
from app.console.copying.handlers import get_copy
from app.console.environments import handlers as environments
from app.console.flag.creation import copy_flag, get_copy_flag
from app.console.flag.dependencies import get_dependencies
from app.console.flag.draft_handlers import post_draft
from app.console.flag.handlers import get_flag
from app.console.flag.preview import post_contexts, post_guard, post_preview
from app.console.flag.switch import get_switch, switch_flag
from app.console.flag.usage import get_usage
from app.console.flag.use_it import get_first_evaluation, get_use_it
from app.console.flags.actions import get_flag_actions, post_flag_actions
from app.console.flags.creation import get_key_check, get_new_flag, post_new_flag
from app.console.flags.handlers import add_flag_list, get_flags
from app.console.flags.saved_filters import post_saved_filter
from app.console.health import handlers as health
from app.console.lists.writes import get_list_export, post_list_upload, post_list_values
from app.console.live.handlers import stream_page_changes
from app.console.pages import with_pages
from app.console.palette.handlers import search_palette
from app.console.past_states import PastStates
from app.console.people import (
    check_pages,
    grant_pages,
    people_pages,
    project_pages,
    role_pages,
)
from app.console.plan.control import get_plan_control, post_plan_control
from app.console.plan.handlers import post_plan_draft
from app.console.proposals import actions as proposal_actions
from app.console.proposals import edit as proposal_edit
from app.console.proposals import handlers as proposals
from app.console.proposals.trying import post_context
from app.console.provider_logout import BACK_CHANNEL, post_back_channel_logout
from app.console.proxy_sign_in import post_proxy_sign_in
from app.console.segments import handlers as segments
from app.console.segments.writes import post_segment_deletion, post_segment_draft
from app.console.settings import actions as setting_actions
from app.console.settings import handlers as settings
from app.console.settings import writes as setting_writes
from app.console.state import PAST_STATES
from app.console.static_files import add_static_files
from app.console.templating import add_templates
from app.console.transfer import handlers as transfer
from app.console.transfer.forms import FORM_BYTES_MAX
from app.http.decoder import BODY_BYTES_MAX
from app.http.frame import with_deadline, with_large_data
from app.http.keys import Handler
from app.http.routing import expect

_ENVIRONMENT = "/console/environments/{environment}"
_ONE_TOKEN = "/console/tokens/{id}"  # noqa: S105 - a path
_PERSON = "/console/people/{id}"
_GRANT = "/console/grants/{id}"
_ROLE = "/console/roles/{name}"
_PROJECT = "/console/projects/{name}"
_PROPOSAL = "/console/proposals/{proposal:[0-9]{1,18}}"
_REVISION = "/{revision:[0-9]{1,18}}"
_CHANGE_SET = _ENVIRONMENT + "/changes" + _REVISION
_REVERT = _ENVIRONMENT + "/revert" + _REVISION
_RESTORE = _ENVIRONMENT + "/restore" + _REVISION
_KEY = r"/{key:[\s\S]+}"
_READ = (Scope.READ,)


@dataclass(frozen=True)
class ConsolePage:
    """One method of one path of the console.

    `scope`, `also`: the scopes that the guard requires; None allows every caller, also one who is
    not signed in unless the page `is_personal`.
    `by_key`: the handler filters by the keys of the caller, as in `Route`.
    `acts`: a GET that changes something. HEAD, as of a checker of links, does not reach it.
    `is_large`: a request may need thousands of entries in memory.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    also: tuple[Scope, ...] = ()
    by_key: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
    is_large: bool = False
    acts: bool = False
    is_personal: bool = False

    @property
    def scopes(self) -> tuple[Scope, ...] | None:
        """The scopes for the guard. Empty: it must be a caller, of any rights."""
        if self.scope is None:
            return () if self.is_personal else None
        return (self.scope, *self.also)


# fmt: off
PAGES: tuple[ConsolePage, ...] = (
    ConsolePage("GET", "/console", home.get_console, Scope.READ, by_key=True),
    ConsolePage("GET", "/console/database-away", home.get_database_away, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT, home.get_environment, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/palette", search_palette, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/live", stream_page_changes, Scope.READ, by_key=True),

    ConsolePage("GET", _ENVIRONMENT + "/flags", get_flags, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/new-flag", get_new_flag, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/new-flag", post_new_flag, Scope.PROPOSE, _READ,
                by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/new-flag-key", get_key_check, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-actions", get_flag_actions, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-actions", post_flag_actions, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-filters", post_saved_filter, Scope.READ, by_key=True),
    ConsolePage("GET", "/console/proposals", proposals.get_proposals, Scope.READ, by_key=True),
    ConsolePage("GET", "/console/proposals/waiting", proposals.get_waiting_count, Scope.READ,
                by_key=True),
    ConsolePage("GET", _PROPOSAL, proposals.get_proposal, Scope.READ, is_large=True, by_key=True),
    ConsolePage("POST", _PROPOSAL + "/try", post_context, Scope.READ, is_large=True, by_key=True),
    ConsolePage("GET", _PROPOSAL + "/edit", proposal_edit.get_edit, Scope.PROPOSE, _READ,
                is_large=True, by_key=True),
    ConsolePage("POST", _PROPOSAL + "/edit", proposal_edit.post_edit, Scope.PROPOSE, _READ,
                is_large=True, by_key=True),
    ConsolePage("POST", _PROPOSAL + "/{action:" + "|".join(proposal_actions.ACTIONS) + "}",
                proposal_actions.post_action, Scope.READ, is_large=True, by_key=True),
    ConsolePage("GET", "/console/tokens", token_pages.get_tokens, Scope.ADMIN, by_key=True),
    ConsolePage("GET", "/console/tokens/new", token_pages.get_new_token, Scope.ADMIN, by_key=True),
    ConsolePage("POST", "/console/tokens/new", token_pages.post_new_token, Scope.ADMIN,
                by_key=True),
    ConsolePage("GET", _ONE_TOKEN, token_pages.get_token, Scope.ADMIN, by_key=True),
    ConsolePage("POST", _ONE_TOKEN + "/rotate", token_pages.post_rotation, Scope.ADMIN,
                by_key=True),
    ConsolePage("POST", _ONE_TOKEN + "/revoke", token_pages.post_revocation, Scope.ADMIN,
                by_key=True),
    ConsolePage("GET", "/console/sessions", session_pages.get_sessions, Scope.READ, by_key=True),
    ConsolePage("POST", "/console/sessions/end", session_pages.post_sessions_end, Scope.READ,
                by_key=True),
    ConsolePage("POST", "/console/sessions/{id}/end", session_pages.post_session_end, Scope.READ,
                by_key=True),
    ConsolePage("GET", "/console/access-log", session_pages.get_access_log, Scope.ADMIN),

    ConsolePage("GET", "/console/me", check_pages.get_me, None, is_personal=True),
    ConsolePage("GET", "/console/people", people_pages.get_people, Scope.ADMIN, by_key=True),
    ConsolePage("GET", _PERSON, people_pages.get_person, Scope.ADMIN, by_key=True),
    ConsolePage("POST", _PERSON + "/suspend", people_pages.post_suspension, Scope.ADMIN),
    ConsolePage("POST", _PERSON + "/restore", people_pages.post_restoration, Scope.ADMIN),
    ConsolePage("GET", "/console/groups", people_pages.get_groups, Scope.ADMIN, by_key=True),
    ConsolePage("GET", "/console/grants", grant_pages.get_grants, Scope.ADMIN, by_key=True),
    ConsolePage("GET", "/console/grants/history", grant_pages.get_access_history, Scope.ADMIN,
                by_key=True),
    ConsolePage("GET", "/console/grants/new", grant_pages.get_new_grant, Scope.ADMIN,
                by_key=True),
    ConsolePage("POST", "/console/grants/new", grant_pages.post_new_grant, Scope.ADMIN,
                by_key=True),
    ConsolePage("GET", _GRANT, grant_pages.get_grant, Scope.ADMIN, by_key=True),
    ConsolePage("POST", _GRANT + "/revoke", grant_pages.post_grant_revocation, Scope.ADMIN,
                by_key=True),
    ConsolePage("GET", "/console/roles", role_pages.get_roles, Scope.ADMIN, by_key=True),
    ConsolePage("GET", "/console/roles/new", role_pages.get_new_role, Scope.ADMIN),
    ConsolePage("POST", "/console/roles/new", role_pages.post_new_role, Scope.ADMIN),
    ConsolePage("GET", _ROLE, role_pages.get_role, Scope.ADMIN, by_key=True),
    ConsolePage("POST", _ROLE, role_pages.post_role, Scope.ADMIN),
    ConsolePage("POST", _ROLE + "/delete", role_pages.post_role_deletion, Scope.ADMIN),
    ConsolePage("GET", "/console/projects", project_pages.get_projects, Scope.ADMIN, by_key=True),
    ConsolePage("GET", "/console/projects/new", project_pages.get_new_project, Scope.ADMIN,
                by_key=True),
    ConsolePage("POST", "/console/projects/new", project_pages.post_new_project, Scope.ADMIN,
                by_key=True),
    ConsolePage("GET", _PROJECT, project_pages.get_project, Scope.ADMIN, by_key=True),
    ConsolePage("POST", _PROJECT, project_pages.post_project, Scope.ADMIN, by_key=True),
    ConsolePage("POST", _PROJECT + "/delete", project_pages.post_project_deletion, Scope.ADMIN,
                by_key=True),
    ConsolePage("GET", "/console/access-check", check_pages.get_access_check, Scope.ADMIN,
                by_key=True),

    ConsolePage("GET", _ENVIRONMENT + "/settings", settings.list_settings, Scope.READ,
                is_large=True, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings", setting_writes.post_setting, Scope.PROPOSE,
                _READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/settings-new", settings.get_new_setting, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings-draft", setting_writes.post_draft, Scope.PROPOSE,
                _READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/settings" + _KEY, settings.get_setting, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings" + _KEY, setting_writes.post_setting,
                Scope.PROPOSE, _READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings-draft" + _KEY, setting_writes.post_draft,
                Scope.PROPOSE, _READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/settings-copy" + _KEY, settings.get_copy, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings-copy" + _KEY, setting_actions.post_copy,
                Scope.READ, is_large=True, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings-rename" + _KEY, setting_actions.post_rename,
                Scope.PROPOSE, _READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings-delete" + _KEY, setting_actions.post_deletion,
                Scope.PROPOSE, _READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/settings-reveal" + _KEY, setting_actions.post_reveal,
                Scope.REVEAL, _READ, by_key=True),

    ConsolePage("GET", "/console/environments", environments.list_environments, Scope.READ,
                by_key=True),
    ConsolePage("GET", "/console/new-environment", environments.get_new_environment, Scope.ADMIN),
    ConsolePage("POST", "/console/new-environment", environments.post_new_environment,
                Scope.ADMIN),
    ConsolePage("GET", _ENVIRONMENT + "/environment", environments.get_properties, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/environment", environments.post_properties, Scope.PROPOSE,
                _READ),
    ConsolePage("POST", _ENVIRONMENT + "/environment-delete",
                environments.post_environment_deletion, Scope.ADMIN, is_large=True),

    ConsolePage("GET", _ENVIRONMENT + "/segments", segments.list_segments, Scope.READ,
                is_large=True, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/segments-new", segments.get_new_segment, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/segments-draft", post_segment_draft, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/segments-preview", segments.post_preview, Scope.READ,
                by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/segments" + _KEY, segments.get_segment, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/segments-draft" + _KEY, post_segment_draft, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/segments-preview" + _KEY, segments.post_preview,
                Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/segments-delete" + _KEY, post_segment_deletion,
                Scope.PROPOSE, _READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/list-values" + _KEY, post_list_values, Scope.PROPOSE,
                _READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/list-upload" + _KEY, post_list_upload, Scope.PROPOSE,
                _READ, body_bytes_max=FORM_BYTES_MAX, is_large=True, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/list-export" + _KEY, get_list_export, Scope.READ,
                by_key=True),
    ConsolePage("GET", "/console/schema", health.get_schema, Scope.READ),
    ConsolePage("GET", "/console/health", health.get_health, Scope.READ),
    ConsolePage("GET", "/console/health/doctor", health.get_doctor, Scope.ADMIN),

    ConsolePage("GET", "/console/sign-in", sign_in.get_sign_in, None),
    ConsolePage("POST", "/console/sign-in", sign_in.post_sign_in, None),
    ConsolePage("GET", "/console/sign-in/oidc", provider_sign_in.get_provider_start, None,
                acts=True),
    ConsolePage("GET", "/console/sign-in/oidc/callback", provider_sign_in.get_provider_callback,
                None, acts=True),
    ConsolePage("POST", "/console/sign-in/proxy", post_proxy_sign_in, None),
    ConsolePage("POST", "/console/sign-out", sign_in.post_sign_out, None),
    ConsolePage("GET", "/console/signed-out", sign_in.get_signed_out, None),

    ConsolePage("GET", _ENVIRONMENT + "/flags" + _KEY, get_flag, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-draft" + _KEY, post_draft, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-preview" + _KEY, post_preview, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-contexts" + _KEY, post_contexts, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-guard" + _KEY, post_guard, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-use" + _KEY, get_use_it, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-first-evaluation" + _KEY, get_first_evaluation,
                Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-usage" + _KEY, get_usage, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-dependencies" + _KEY, get_dependencies, Scope.READ,
                by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-switch" + _KEY, get_switch, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-switch" + _KEY, switch_flag, Scope.PROPOSE, _READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-plan-draft" + _KEY, post_plan_draft, Scope.READ,
                by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-plan-control" + _KEY, get_plan_control, Scope.READ,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-plan-control" + _KEY, post_plan_control,
                Scope.PROPOSE, _READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-copy" + _KEY, get_copy_flag, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/flag-copy" + _KEY, copy_flag, Scope.PROPOSE, _READ,
                by_key=True),

    ConsolePage("GET", _ENVIRONMENT + "/copy" + _REVISION, get_copy, Scope.READ, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/transfer", transfer.get_transfer, Scope.READ, by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/transfer", transfer.post_import, Scope.PROPOSE, _READ,
                body_bytes_max=FORM_BYTES_MAX, is_large=True, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/export", transfer.get_export, Scope.READ, is_large=True,
                by_key=True),
    ConsolePage("POST", _ENVIRONMENT + "/export", transfer.post_export, Scope.READ,
                (Scope.REVEAL,), is_large=True, by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/changes", changes.get_changes, Scope.READ, by_key=True),
    ConsolePage("GET", _CHANGE_SET, changes.get_change_set, Scope.READ, by_key=True,
                is_large=True),
    ConsolePage("GET", _CHANGE_SET + "/summary", changes.get_summary, Scope.READ, by_key=True,
                is_large=True),
    ConsolePage("GET", _CHANGE_SET + "/effect", changes.get_effect, Scope.READ, by_key=True,
                is_large=True),
    ConsolePage("GET", _ENVIRONMENT + "/history" + _KEY, changes.get_key_history, Scope.READ,
                by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/flag-history" + _KEY, changes.get_key_history, Scope.READ,
                by_key=True),
    ConsolePage("GET", _REVERT, plan_pages.get_revert, Scope.PROPOSE, _READ, is_large=True,
                by_key=True),
    ConsolePage("POST", _REVERT, plan_pages.post_revert, Scope.PROPOSE, _READ, is_large=True,
                by_key=True),
    ConsolePage("GET", _RESTORE, plan_pages.get_restore, Scope.PROPOSE, _READ, is_large=True,
                by_key=True),
    ConsolePage("POST", _RESTORE, plan_pages.post_restore, Scope.PROPOSE, _READ, is_large=True,
                by_key=True),
    ConsolePage("GET", _ENVIRONMENT + "/compare", get_compare, Scope.READ, by_key=True,
                is_large=True),
    ConsolePage("POST", _ENVIRONMENT + "/promote", post_promote, Scope.PROPOSE, _READ,
                is_large=True, by_key=True),

    # The last one: it takes every other path.
    ConsolePage("GET", r"/console/{path:[\s\S]*}", home.get_unknown_page, Scope.READ, by_key=True),
)
# fmt: on


def add_console(app: web.Application) -> None:
    """Add the pages, the templates and the static files to the application."""
    add_static_files(app)
    add_templates(app)
    add_flag_list(app)
    health.add_health(app)
    app[PAST_STATES] = PastStates()
    # The provider's server calls it, and no browser: it has neither a session nor an origin.
    app.router.add_route("POST", BACK_CHANNEL, with_deadline(post_back_channel_logout))
    for entry in PAGES:
        handler = entry.handler
        if entry.path.startswith(_ENVIRONMENT):
            handler = with_snapshot(handler)
        handler = guarded_page(handler, entry.scopes, by_key=entry.by_key)
        if entry.is_large:
            handler = with_large_data(handler)
        if entry.method != "GET":
            handler = with_deadline(handler)
        handler = with_pages(handler)
        invite = partial(expect, bytes_max=entry.body_bytes_max)
        app.router.add_route(entry.method, entry.path, handler, expect_handler=invite)
        if entry.method == "GET" and not entry.acts:
            app.router.add_route("HEAD", entry.path, handler, expect_handler=invite)
