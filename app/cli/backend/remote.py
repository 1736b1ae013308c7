"""The operations of commands on a server, by its HTTP API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from app.access.token_views import IssuedToken, NewToken, RotationRequest, TokenPage, TokenView
from app.cli.backend.http_client import HttpClient
from app.cli.backend.interface import Backend, Export
from app.cli.backend.remote_lists import RemoteLists
from app.cli.protected_writes import is_emergency
from app.cli.server_options import Server
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.past import Moment
from app.configuration.changes.plan_control import PlanCommand
from app.configuration.changes.requests import (
    DeleteOperation,
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
    Difference,
    KeyHistory,
)
from app.configuration.entries.models import ConfigurationPage, NewConfiguration, WriteResult
from app.configuration.snapshots.snapshot import Configuration
from app.configuration.transfer.document_writer import left_out
from app.configuration.transfer.documents import MEDIA_TYPES, Format, ImportOptions
from app.configuration.transfer.service import ImportResult
from app.environments.models import Environment, EnvironmentList
from app.errors import NotFound
from app.evaluation.engine import FlagSet
from app.evaluation.flag_compiler import FlagCompiler
from app.evaluation.needs import needs_of
from app.flags.explanation import FlagSource, unknown_flag
from app.flags.plan_views import PlanControl
from app.flags.preview_views import Preview, PreviewRequest
from app.flags.views import EvaluationQuery, ExplainedEvaluation, FlagUsage, FlagUse

Result = TypeVar("Result")
_PAGE = 500


def run_remote(work: Callable[[Backend], Awaitable[Result]], server: Server) -> Result:
    """Run the work on a server."""

    async def whole() -> Result:
        async with HttpClient(server) as client:
            return await work(RemoteBackend(client))

    return asyncio.run(whole())


class RemoteBackend(RemoteLists):
    """The operations as requests. The actor is the token."""

    async def list_environments(self) -> list[Environment]:
        return (await self._client.get("/v1/environments", EnvironmentList)).items

    async def get_environment(self, name: str, moment: Moment | None = None) -> Environment:
        return await self._client.get(_environment(name), Environment, **_moment(moment))

    async def create_environment(self, new: NewEnvironment) -> Environment:
        return await self._client.write("POST", "/v1/environments", Environment, body=new)

    async def patch_environment(
        self, name: str, patch: EnvironmentPatch, version: int, *, dry_run: bool
    ) -> AppliedChangeSets:
        return await self._client.write(
            "PATCH",
            _environment(name),
            AppliedChangeSets,
            body=patch,
            query={"dry_run": dry_run, "emergency": is_emergency()},
            headers=_if_match(version),
        )

    async def delete_environment(
        self, name: str, version: int, message: str, *, dry_run: bool
    ) -> Environment:
        return await self._client.write(
            "DELETE",
            _environment(name),
            Environment,
            query={"dry_run": dry_run, "message": message or None},
            headers=_if_match(version),
        )

    async def get_entry(
        self, environment: str, key: str, moment: Moment | None = None, *, reveal: bool = False
    ) -> Configuration:
        query = {**_moment(moment), "reveal": reveal}
        return await self._client.get(_entry(environment, key), Configuration, **query)

    async def list_entries(
        self,
        environment: str,
        moment: Moment | None = None,
        *,
        prefix: str = "",
        kind: Kind | None = None,
    ) -> list[Configuration]:
        path = f"{_environment(environment)}/configurations"
        query = {**_moment(moment), "prefix": prefix or None, "kind": kind}
        pages = self._client.pages(path, ConfigurationPage, **query)
        return [entry async for page in pages for entry in page.items]

    async def put_entry(
        self, environment: str, key: str, new: NewConfiguration, version: int
    ) -> WriteResult:
        headers = _if_match(version) if version else {"If-None-Match": "*"}
        return await self._client.write(
            "PUT",
            _entry(environment, key),
            WriteResult,
            body=new,
            query={"emergency": is_emergency()},
            headers=headers,
        )

    async def control_plan(
        self, environment: str, key: str, action: PlanCommand, body: PlanControl, version: int
    ) -> WriteResult:
        return await self._client.write(
            "POST",
            f"{_environment(environment)}/flags/{_quoted(key)}/plan/{action}",
            WriteResult,
            body=body,
            query={"emergency": is_emergency()},
            headers=_if_match(version),
        )

    async def delete_entry(
        self, environment: str, key: str, version: int, message: str, *, dry_run: bool
    ) -> AppliedChangeSets:
        # DELETE of the entry takes no message.
        operations: list[Any] = [DeleteOperation(key=key, version=version)]
        body = NewChangeSet(operations=operations, message=message)
        return await self.apply(environment, body, dry_run=dry_run)

    async def apply(
        self, environment: str, body: NewChangeSet, *, dry_run: bool
    ) -> AppliedChangeSets:
        return await self._write(environment, "changes", body, dry_run=dry_run)

    async def key_history(self, environment: str, key: str, *, limit: int) -> KeyHistory:
        return await self._client.get(
            f"{_entry(environment, key)}/history", KeyHistory, limit=limit
        )

    async def list_change_sets(self, environment: str, *, limit: int) -> ChangeSetPage:
        path = f"{_environment(environment)}/changes"
        return await self._client.get(path, ChangeSetPage, limit=limit)

    async def compare_revisions(
        self, environment: str, before: int, after: int | None
    ) -> Difference:
        # Fixed, so that all pages are of one revision.
        last = (await self.get_environment(environment)).revision if after is None else after
        return await self._compare(environment, {"from": before, "to": last})

    async def compare_environments(self, environment: str, against: str) -> Difference:
        return await self._compare(environment, {"against": against})

    async def _compare(self, environment: str, query: Mapping[str, Any]) -> Difference:
        path = f"{_environment(environment)}/diff"
        pages = [page async for page in self._client.pages(path, Difference, **query)]
        changes = [change for page in pages for change in page.changes]
        return msgspec.structs.replace(pages[-1], changes=changes)

    async def revert(
        self,
        environment: str,
        revision: int,
        message: str,
        *,
        prefixes: Sequence[str],
        dry_run: bool,
    ) -> AppliedChangeSets:
        body = RevertRequest(prefixes=list(prefixes), message=message)
        path = f"changes/{revision}/revert"
        return await self._write(environment, path, body, dry_run=dry_run)

    async def restore(
        self,
        environment: str,
        moment: Moment,
        message: str,
        *,
        prefixes: Sequence[str],
        dry_run: bool,
    ) -> AppliedChangeSets:
        if isinstance(moment, datetime):
            body = RestoreRequest(at=moment, prefixes=list(prefixes), message=message)
        else:
            body = RestoreRequest(revision=moment, prefixes=list(prefixes), message=message)
        return await self._write(environment, "restore", body, dry_run=dry_run)

    async def promote(
        self, environment: str, source: str, keys: Sequence[str], message: str, *, dry_run: bool
    ) -> AppliedChangeSets:
        body = PromotionRequest(source=source, keys=list(keys), message=message)
        return await self._write(environment, "promote", body, dry_run=dry_run)

    async def _write(
        self, environment: str, path: str, body: Any, *, dry_run: bool
    ) -> AppliedChangeSets:
        return await self._client.write(
            "POST",
            f"{_environment(environment)}/{path}",
            AppliedChangeSets,
            body=body,
            query={"dry_run": dry_run, "emergency": is_emergency()},
        )

    async def export(
        self, environment: str, format_: Format, moment: Moment | None, *, reveal: bool
    ) -> Export:
        exported = await self.get_environment(environment, moment)
        # One revision for the file and for the count of its entries.
        text = await self._client.send(
            "GET",
            f"{_environment(environment)}/export",
            query={"format": format_, "revision": exported.revision, "reveal": reveal},
        )
        entries = await self.list_entries(environment, exported.revision)
        contents = {entry.key: Content.of(entry) for entry in entries}
        omitted = sorted(left_out(contents, format_, exported))
        return Export(text, len(contents) - len(omitted), omitted)

    async def import_file(
        self, environment: str, raw: bytes, options: ImportOptions
    ) -> ImportResult:
        return await self._client.write(
            "POST",
            f"{_environment(environment)}/import",
            ImportResult,
            body=raw,
            query={
                "format": options.format,
                "mode": options.mode,
                "message": options.message,
                "lenient": options.lenient,
                "secret": ",".join(options.secrets) or None,
                "dry_run": options.dry_run,
                "emergency": is_emergency(),
            },
            headers={"Content-Type": MEDIA_TYPES[options.format]},
        )

    async def list_usage(self, environment: str) -> list[FlagUse]:
        path = f"{_environment(environment)}/flags/usage"
        return (await self._client.get(path, FlagUsage)).items

    async def explain(
        self, environment: str, key: str, query: EvaluationQuery
    ) -> ExplainedEvaluation:
        path = f"{_environment(environment)}/flags/{_quoted(key)}/evaluate"
        return await self._client.query(path, ExplainedEvaluation, query)

    async def flag_source(self, environment: str, key: str, moment: Moment | None) -> FlagSource:
        state = await self.get_environment(environment, moment)
        try:
            entry = await self.get_entry(environment, key, state.revision)
        except NotFound as error:
            raise unknown_flag() from error
        if entry.kind != Kind.FLAG:
            raise unknown_flag()
        segments = await self.list_entries(environment, state.revision, kind=Kind.SEGMENT)
        rules = {segment.key: segment.value for segment in segments}
        flags = await self._needed_flags(environment, state.revision, entry.value)
        flag_set = FlagSet(rules, state.fractional, state.metadata)
        return FlagSource(
            revision=state.revision,
            definition=entry.value if isinstance(entry.value, dict) else {},
            flag_set=FlagCompiler(flag_set, flags.get).flag_set,
        )

    async def _needed_flags(
        self, environment: str, revision: int, definition: Any
    ) -> dict[str, Any]:
        """Return the definitions of the flags that a definition needs, directly or not."""
        flags: dict[str, Any] = {}
        waiting = [need.flag for need in needs_of(definition)]
        requested = set(waiting)
        while waiting:
            key = waiting.pop()
            try:
                entry = await self.get_entry(environment, key, revision)
            except NotFound:
                continue
            if entry.kind == Kind.FLAG:
                flags[key] = entry.value
                names = {need.flag for need in needs_of(entry.value)} - requested
                waiting += names
                requested |= names
        return flags

    async def preview(self, environment: str, request: PreviewRequest) -> Preview:
        path = f"{_environment(environment)}/preview"
        return await self._client.query(path, Preview, request)

    async def list_tokens(self) -> list[TokenView]:
        pages = self._client.pages("/v1/tokens", TokenPage)
        return [token async for page in pages for token in page.items]

    async def get_token(self, token_id: str) -> TokenView:
        return await self._client.get(_token(token_id), TokenView)

    async def create_token(self, new: NewToken) -> IssuedToken:
        return await self._client.write("POST", "/v1/tokens", IssuedToken, body=new)

    async def rotate_token(self, token_id: str, grace_seconds: int) -> IssuedToken:
        body = RotationRequest(grace_seconds=grace_seconds)
        return await self._client.write(
            "POST", f"{_token(token_id)}/rotate", IssuedToken, body=body
        )

    async def revoke_token(self, token_id: str) -> None:
        await self._client.write("DELETE", _token(token_id), TokenView)


def _environment(name: str) -> str:
    return f"/v1/environments/{_quoted(name)}"


def _entry(environment: str, key: str) -> str:
    return f"{_environment(environment)}/configurations/{_quoted(key)}"


def _token(token_id: str) -> str:
    return f"/v1/tokens/{_quoted(token_id)}"


def _quoted(name: str) -> str:
    """Return a name for a path. A slash is quoted: a key may end in /history or contain `..`."""
    return quote(name, safe="")


def _moment(moment: Moment | None) -> dict[str, Any]:
    if isinstance(moment, datetime):
        return {"at": moment.isoformat()}
    return {"revision": moment}


def _if_match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}
