"""The operations of commands on environments and tokens, on the database."""

from app.access import expiry, tokens
from app.access.local_credentials import token_key
from app.access.models import Grant
from app.access.people.edit import AccessEdit
from app.access.permissions import OPERATOR_RIGHTS
from app.access.token_views import IssuedToken, NewToken, TokenView
from app.cli.actor import operator, origin
from app.cli.backend.authority import authority, record_changes
from app.configuration.changes import administration, writes
from app.configuration.changes.intents import patch_of
from app.configuration.changes.past import Moment, environment_at
from app.configuration.changes.properties import Intent
from app.configuration.changes.requests import EnvironmentPatch, NewEnvironment
from app.configuration.changes.views import AppliedChangeSets
from app.database import Connection
from app.environments import service as environments
from app.environments.models import Environment
from app.http.conditions import ExpectedVersion
from app.http.writes import transact
from app.scripts import Resources

_PAGE = 500


class LocalAdministration:
    """The operations on environments and tokens."""

    def __init__(self, resources: Resources) -> None:
        self._settings = resources.settings
        self._database = resources.database
        self._log = resources.access_log

    async def list_environments(self) -> list[Environment]:
        async with self._database.connection() as connection:
            return await environments.list_all(connection)

    async def get_environment(self, name: str, moment: Moment | None = None) -> Environment:
        async with self._database.connection() as connection:
            if moment is None:
                return await environments.get(connection, name)
            return await environment_at(connection, name, moment)

    async def create_environment(self, new: NewEnvironment) -> Environment:
        async def write(connection: Connection) -> Environment:
            created = await writes.create_environment(connection, new, actor=operator())
            await administration.record_creation(connection, self._log, created, origin())
            return created

        return await self._database.transact(write)

    async def patch_environment(
        self, name: str, patch: EnvironmentPatch, version: int, *, dry_run: bool
    ) -> AppliedChangeSets:
        intent = Intent(patch=patch_of(patch, ExpectedVersion(version=version)))

        async def write(connection: Connection) -> AppliedChangeSets:
            applied = await writes.apply(
                connection,
                {name: intent},
                actor=operator(),
                message=patch.message,
                authority=authority(dry_run=dry_run),
            )
            await record_changes(connection, self._log, applied)
            return applied

        return await transact(self._database, write, dry_run=dry_run)

    async def delete_environment(
        self, name: str, version: int, message: str, *, dry_run: bool
    ) -> Environment:
        return await transact(
            self._database,
            lambda connection: administration.delete_environment(
                self._access_edit(connection),
                name,
                expected=ExpectedVersion(version=version),
                message=message,
            ),
            dry_run=dry_run,
        )

    async def list_tokens(self) -> list[TokenView]:
        views: list[TokenView] = []
        after: str | None = ""
        async with self._database.connection() as connection:
            while after is not None:
                page = await tokens.list_page(connection, OPERATOR_RIGHTS, after=after, limit=_PAGE)
                views += page.items
                after = page.next
        return views

    async def get_token(self, token_id: str) -> TokenView:
        async with self._database.connection() as connection:
            return await tokens.get(connection, token_id)

    async def create_token(self, new: NewToken) -> IssuedToken:
        scopes = frozenset(new.scopes)
        grant = Grant(
            scopes=scopes,
            environments=frozenset(new.environments),
            prefixes=tokens.read_prefixes(new.prefixes),
            expires_at=expiry.expiry(scopes, expires_days=new.expires_days),
        )

        async def write(connection: Connection) -> IssuedToken:
            created = await tokens.create(self._access_edit(connection), name=new.name, grant=grant)
            return IssuedToken(text=created.text, token=await tokens.get(connection, created.id))

        return await self._database.transact(write)

    async def rotate_token(self, token_id: str, grace_seconds: int) -> IssuedToken:
        async def write(connection: Connection) -> IssuedToken:
            created = await tokens.rotate(
                self._access_edit(connection), token_id, grace_seconds=grace_seconds
            )
            return IssuedToken(text=created.text, token=await tokens.get(connection, created.id))

        return await self._database.transact(write)

    async def revoke_token(self, token_id: str) -> None:
        await self._database.transact(lambda c: tokens.revoke(self._access_edit(c), token_id))

    def _access_edit(self, connection: Connection) -> AccessEdit:
        return AccessEdit(
            connection=connection,
            log=self._log,
            key=token_key(self._settings),
            origin=origin(),
        )
