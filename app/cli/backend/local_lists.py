"""The operations of commands on lists, on the database."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from app.cli.actor import operator
from app.cli.backend.authority import authority, record_emergency
from app.cli.backend.interface import ListUpload
from app.cli.backend.local_proposals import LocalProposals
from app.configuration.entries.service import check_key, check_stored_key
from app.configuration.lists import reading, service, staging
from app.configuration.lists.exporting import ExportFormat, file_parts
from app.configuration.lists.models import ListPage, ListPatch, ListResult
from app.configuration.lists.service import ListTarget, UploadMode
from app.configuration.lists.upload_reader import UploadReader
from app.configuration.lists.writing import (
    Change,
    checked_patch,
    receive,
    state_for_proposals,
    write,
)
from app.database import Connection
from app.http.conditions import ExpectedVersion
from app.http.writes import transact


class LocalLists(LocalProposals):
    """The operations on lists. The actor is the operator's account."""

    async def upload_list(
        self, environment: str, key: str, upload: ListUpload, version: int, *, dry_run: bool
    ) -> ListResult:
        may_create = upload.mode is not UploadMode.REMOVE
        target = _target(
            environment,
            check_key(key) if may_create else check_stored_key(key),
            version,
            upload.message,
            dry_run=dry_run,
        )
        reader = UploadReader(upload.format)
        async with self._database.connection() as connection:
            staged = await service.begin(connection, target, upload.mode)
        change = partial(service.upload, staged=staged, mode=upload.mode)
        try:
            async with aclosing(upload.parts) as parts:
                await receive(self._database, staged, reader, parts)
            return await self._write_list(target, change, may_create=may_create)
        finally:
            if not staged.is_adopted:
                await staging.discard(self._database, staged.store)

    async def patch_list(
        self, environment: str, key: str, patch: ListPatch, version: int, *, dry_run: bool
    ) -> ListResult:
        add, remove = checked_patch(patch)
        key = check_stored_key(key)
        target = _target(environment, key, version, patch.message, dry_run=dry_run)
        change = partial(service.patch, add=add, remove=remove)
        return await self._write_list(target, change, may_create=False)

    async def find_list_value(self, environment: str, key: str, value: str) -> ListPage:
        async with self._database.connection() as connection:
            list_ = await reading.find(connection, environment, key, None)
            return await reading.lookup(connection, list_, value)

    async def export_list(
        self, environment: str, key: str, format_: ExportFormat
    ) -> AsyncGenerator[bytes, None]:
        async with self._database.connection() as connection:
            list_ = await reading.find(connection, environment, key, None)
        async with aclosing(file_parts(self._database, list_, format_)) as parts:
            async for part in parts:
                yield part

    async def _write_list(
        self, target: ListTarget, change: Change, *, may_create: bool
    ) -> ListResult:
        async def work(connection: Connection) -> ListResult:
            written = await write(connection, target, change, may_create=may_create)
            await record_emergency(connection, self._log, [written])
            return written

        async with state_for_proposals(self._database, target, change, may_create=may_create):
            return await transact(self._database, work, dry_run=target.authority.is_dry_run)


def _target(environment: str, key: str, version: int, message: str, *, dry_run: bool) -> ListTarget:
    return ListTarget(
        environment=environment,
        key=key,
        expected=ExpectedVersion(version=version or None),
        actor=operator(),
        message=message,
        authority=authority(dry_run=dry_run),
    )
