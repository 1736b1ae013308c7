"""The operations of commands on lists of a server, by its HTTP API."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import quote

from app.cli.backend.interface import ListUpload
from app.cli.backend.remote_proposals import RemoteProposals
from app.cli.protected_writes import is_emergency
from app.configuration.lists.exporting import ExportFormat
from app.configuration.lists.models import ListPage, ListPatch, ListResult


class RemoteLists(RemoteProposals):
    """The operations as requests. The actor is the token."""

    async def upload_list(
        self, environment: str, key: str, upload: ListUpload, version: int, *, dry_run: bool
    ) -> ListResult:
        async with aclosing(upload.parts) as parts:
            return await self._client.upload(
                _list(environment, key),
                ListResult,
                parts,
                query={
                    "operation": upload.mode,
                    "message": upload.message or None,
                    "dry_run": dry_run,
                    "emergency": is_emergency(),
                },
                headers={"Content-Type": upload.format, **_condition(version)},
            )

    async def patch_list(
        self, environment: str, key: str, patch: ListPatch, version: int, *, dry_run: bool
    ) -> ListResult:
        return await self._client.write(
            "PATCH",
            _list(environment, key),
            ListResult,
            body=patch,
            query={"dry_run": dry_run, "emergency": is_emergency()},
            headers=_condition(version),
        )

    async def find_list_value(self, environment: str, key: str, value: str) -> ListPage:
        return await self._client.get(f"{_list(environment, key)}/values", ListPage, value=value)

    async def export_list(
        self, environment: str, key: str, format_: ExportFormat
    ) -> AsyncGenerator[bytes, None]:
        stream = self._client.stream(f"{_list(environment, key)}/export", type=format_)
        async with aclosing(stream) as parts:
            async for part in parts:
                yield part


def _list(environment: str, key: str) -> str:
    return f"/v1/environments/{quote(environment, safe='')}/lists/{quote(key, safe='')}"


def _condition(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
