"""The handlers of previews of proposals, and of evaluations in the proposed state."""

from aiohttp import web

from app.access.guard import CALLER, readable_keys
from app.access.models import Scope
from app.access.refusals import environment_foreign, key_foreign
from app.configuration.changes.models import Content
from app.configuration.changes.requests import PatchOperation, PutOperation
from app.configuration.proposals import reading
from app.configuration.proposals.handlers import read_id
from app.configuration.proposals.models import Proposal
from app.configuration.proposals.parts import environments_with
from app.configuration.snapshots.reading import FOLLOWER, snapshot_headers
from app.configuration.snapshots.snapshot import Snapshot
from app.errors import invalid
from app.flags import explanation
from app.flags.drafts import Draft
from app.flags.explanation import FlagSource
from app.flags.proposals.preview import preview
from app.flags.proposals.views import ProposedEvaluationQuery
from app.flags.views import EvaluationQuery, ExplainedEvaluation
from app.http import wire
from app.http.decoder import CONTEXT_BYTES_MAX
from app.http.keys import DATABASE


async def preview_proposal(request: web.Request) -> web.Response:
    """Preview a proposal.

    For each environment, and the keys of the token there: the changes against the present, as JSON
    and in words; what its application would refuse; the keys that have moved, with three contents;
    and how many of the sampled keys change for each affected flag.
    """
    query = wire.read_query(request, {"environment"})
    proposal = await _find(request)
    names = _names(request, proposal)
    if "environment" in query:
        names = [_environment(request, names, query["environment"])]

    return wire.answer(await preview(request, proposal, names))


async def evaluate_proposed_flag(request: web.Request) -> web.Response:
    """Evaluate a flag in the proposed state, and explain it."""
    wire.read_query(request, set())
    body = await wire.read_body(request, ProposedEvaluationQuery, bytes_max=CONTEXT_BYTES_MAX)
    explained, snapshot = await evaluate(request, body)
    return wire.answer(explained, headers=snapshot_headers(request, snapshot))


async def evaluate(
    request: web.Request, query: ProposedEvaluationQuery
) -> tuple[ExplainedEvaluation, Snapshot]:
    """Evaluate a flag in the state that the path's proposal proposes.

    Return the present snapshot too. Raises NotFound, Invalid, Forbidden.
    """
    proposal = await _find(request)
    name = _environment(request, _names(request, proposal), query.environment)
    snapshot = await request.app[FOLLOWER].at_least(name, 0)
    keys = readable_keys(request, name)
    if query.flag not in keys:
        raise key_foreign(Scope.READ, query.flag, keys)
    draft = Draft.of(snapshot, _contents(proposal, name), keys)
    definition = draft.definition_after(query.flag)
    if definition is None:
        raise explanation.unknown_flag()
    source = FlagSource(
        revision=snapshot.revision,
        definition=definition if isinstance(definition, dict) else {},
        flag_set=draft.flag_set,
    )

    explained = explanation.explained(
        query.flag, source, EvaluationQuery(context=query.context, at=query.at), keys
    )

    return explained, snapshot


async def _find(request: web.Request) -> Proposal:
    async with request.app[DATABASE].connection() as connection:
        return await reading.find(connection, read_id(request), request[CALLER].rights)


def _names(request: web.Request, proposal: Proposal) -> list[str]:
    """Return the environments where the caller may read a key of the proposal."""
    return environments_with(proposal, request[CALLER].rights, Scope.READ)


def _environment(request: web.Request, names: list[str], name: str | None) -> str:
    """Return the environment that a request names, or the only one. Raises Invalid, Forbidden.

    The error is the same whether or not the proposal has a part for a hidden environment.
    """
    if name is None:
        if len(names) > 1:
            raise invalid("environment", f"must be one of {', '.join(names)}")
        return names[0]
    if name in names:
        return name
    if not request[CALLER].rights.covers(Scope.READ, name):
        raise environment_foreign()
    raise invalid("environment", f"must be one of {', '.join(names)}")


def _contents(proposal: Proposal, name: str) -> dict[str, Content | None]:
    """Return the contents of a proposal in an environment. Those of secrets are masked."""
    return {
        item.key: Content.of(item) if isinstance(item, PutOperation) else None
        for item in proposal.operations
        if item.environment == name and not isinstance(item, PatchOperation)
    }
