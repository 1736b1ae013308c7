"""Preview a proposal: its changes in words, its refusals, and its effect on flags."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import msgspec
from aiohttp import web

from app.access.guard import CALLER, readable_keys
from app.configuration.changes.requests import AnyOperation, PatchOperation, PutOperation
from app.configuration.changes.views import CHANGES_BYTES_MAX, CHANGES_MAX, ChangeView
from app.configuration.changes.write_requests import CHECKS
from app.configuration.proposals import trial
from app.configuration.proposals.differences import ProposedDifference, compare
from app.configuration.proposals.models import Needs, Proposal
from app.configuration.proposals.parts import may_read_all, readable
from app.configuration.proposals.trial import Trial, refused_elsewhere
from app.configuration.snapshots.reading import FOLLOWER
from app.errors import AppError, RetryLater
from app.flags.change_words.entries import describe_changes
from app.flags.change_words.sentences import Tense, plain_text
from app.flags.handlers import PREVIEWS
from app.flags.preview import refusal_of
from app.flags.preview_views import DraftEntry, Preview, PreviewRequest
from app.flags.proposals.views import EnvironmentPreview, ProposalPreview
from app.http.keys import DATABASE
from app.http.writes import transact
from app.secrets.reveal import VAULT
from app.threads import in_turn

# Sentences of an environment.
_WORDS_MAX = 100
# Flags of further environments are left out after this time.
FLAGS_SECONDS = 6.0
_NO_FLAGS = Preview(revision=0, refusals=[], flags=[], flags_count=0, is_complete=True)


async def preview(
    request: web.Request, proposal: Proposal, names: Sequence[str]
) -> ProposalPreview:
    """Return the preview of a proposal in these environments. Raises Unavailable.

    All of it is tried there. The preview shows the keys that the caller may read.
    """
    rights = request[CALLER].rights
    within = _within(proposal, names)
    result = await _tried(request, within)
    shown = replace(within, operations=readable(within.operations, rights))
    end = time.monotonic() + FLAGS_SECONDS
    previews = []
    for name, intent in sorted(trial.unchecked(shown.operations).items()):
        async with request.app[DATABASE].connection() as connection:
            difference = await compare(connection, name, intent)
        flags = await _flags(request, shown, name) if time.monotonic() < end else None
        error = result.refusals.get(name)
        if error is not None and not may_read_all(within, name, rights):
            error = refused_elsewhere()
        previews.append(await _environment(difference, result, error, flags))
    return ProposalPreview(
        proposal=proposal.id,
        version=proposal.version,
        can_apply=not result.refusals,
        environments=previews,
    )


def _within(proposal: Proposal, names: Sequence[str]) -> Proposal:
    """Return the proposal with its operations in these environments alone."""
    operations = [item for item in proposal.operations if item.environment in names]
    return replace(proposal, environments=names, operations=operations)


async def _tried(request: web.Request, proposal: Proposal) -> Trial:
    """Try a proposal, and roll back. Contents that fail their checks refuse each environment."""
    database, vault = request.app[DATABASE], request.app[VAULT]
    try:
        ready = await trial.check(database, vault, request.app[CHECKS], proposal)
    except RetryLater:
        raise
    except AppError as error:
        refusals = dict.fromkeys(proposal.environments, error.with_traceback(None))
        return Trial(change_sets={}, refusals=refusals, needs=Needs())
    caller = request[CALLER]
    return await transact(
        database,
        lambda c: trial.try_out(c, ready, actor=caller.actor, rights=caller.rights, vault=vault),
        dry_run=True,
    )


async def _environment(
    difference: ProposedDifference, result: Trial, error: AppError | None, flags: Preview | None
) -> EnvironmentPreview:
    name, changes = difference.environment.name, difference.changes
    first = _first(changes)
    described = await in_turn(
        "words",
        lambda: describe_changes(
            first,
            difference.properties,
            limit=_WORDS_MAX,
            hidden=len(changes) - len(first),
            tense=Tense.PLANNED,
        ),
    )
    return EnvironmentPreview(
        environment=name,
        revision=difference.environment.revision,
        changes=first,
        changes_count=len(changes),
        properties=difference.properties,
        properties_moved=difference.properties_moved,
        words=[plain_text(sentence) for sentence in described],
        refusals=[] if error is None else [refusal_of(error)],
        conflicts=list(difference.conflicts),
        approvals_required=result.needs.required.get(name, 0),
        flags=[] if flags is None else flags.flags,
        flags_count=0 if flags is None else flags.flags_count,
        is_complete=flags is not None and flags.is_complete,
    )


def _first(changes: Sequence[ChangeView]) -> list[ChangeView]:
    """Return the first changes, within the limits of a response."""
    first = list(changes[:CHANGES_MAX])
    sizes = accumulate(len(msgspec.json.encode(change)) for change in first)
    return first[: max(1, sum(size <= CHANGES_BYTES_MAX for size in sizes))]


async def _flags(request: web.Request, proposal: Proposal, name: str) -> Preview:
    """Return the effect on flags. Secrets have none."""
    snapshot = await request.app[FOLLOWER].at_least(name, 0)
    changes = {
        item.key: _draft_entry(item)
        for item in proposal.operations
        if item.environment == name
        and not isinstance(item, PatchOperation)
        and not (isinstance(item, PutOperation) and item.kind == "secret")
    }
    if not changes:
        return _NO_FLAGS
    return await request.app[PREVIEWS].run(
        snapshot,
        PreviewRequest(changes=changes),
        int(time.time()),
        readable_keys(request, name),
    )


def _draft_entry(operation: AnyOperation) -> DraftEntry | None:
    if not isinstance(operation, PutOperation) or operation.kind == "secret":
        return None
    return DraftEntry(
        value=operation.value,
        kind=operation.kind,
        schema=operation.schema,
        description=operation.description,
    )
