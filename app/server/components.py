"""Every running part of the service, in the order of the start.

The order is the order of needs: a component starts once all components above it have started. They
are closed in reverse order, after the background tasks have ended.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from aiohttp import web

from app import memory
from app.access.directory import CHANGE_OF_TOKENS, TokenDirectory
from app.access.guard import ACCESS_LOG, TOKENS, rights_digest
from app.access.last_used import TOKEN_USE, TokenUse
from app.access.local_credentials import ensure_admin_token, token_key
from app.access.log import AccessLog
from app.access.oidc.keys import OIDC
from app.access.rate_limit import RATE_LIMIT, RateLimit
from app.access.stdout_log import StdoutLog
from app.audit.head_export import HeadExport
from app.components import Component, FunctionComponent
from app.configuration.changes.content_checks import ContentChecks
from app.configuration.changes.group_commit import GROUP_COMMIT, GroupCommit
from app.configuration.changes.step_recorder import StepRecorder
from app.configuration.changes.write_requests import CHECKS
from app.configuration.lists.staging import UPLOADS, Uploads
from app.configuration.proposals.watch import CHANGE_OF_PROPOSALS, WATCH, ProposalWatch
from app.configuration.snapshots.broadcast import STREAMS, Broadcast
from app.configuration.snapshots.disk import Disk
from app.configuration.snapshots.disk_copy import DiskCopy
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.transfer.import_requests import TRANSFER_LIMITER, TRANSFER_WAIT_SECONDS
from app.console.health.rates import RATES, EvaluationRates
from app.crypto.derivation import Purpose, derive
from app.database import Database
from app.database.client.listener import listen
from app.database.client.primary import Primary
from app.database.roles.check import check_role
from app.database.startup import DatabaseServer, Migrations, Pool
from app.flags.handlers import PREVIEWS, USAGE
from app.flags.ofrep.cors import CORS, Cors
from app.flags.ofrep.tickets import TICKETS, Tickets
from app.flags.preview import Previews
from app.flags.usage import Usage
from app.health.handlers import HEALTH, Health
from app.health.heartbeat import Heartbeat
from app.http.budget import BodyBudget
from app.http.durations import Durations
from app.http.keys import BUDGET, DATABASE, DECODE_LIMITER, DURATIONS, LIFECYCLE, SETTINGS
from app.http.lifecycle import Lifecycle
from app.http.writes import DIGEST_KEY, RIGHTS_DIGEST
from app.operations.backups.drill import Drill
from app.operations.backups.schedule import Schedule
from app.operations.metrics.collector import Collector
from app.operations.metrics.handlers import PEERS
from app.operations.metrics.peers import Peers
from app.relay.feed import FEED, Feed
from app.schema.drift import DriftCheck
from app.schema.version_check import SchemaCheck
from app.secrets.key_sources import wrapper_of
from app.secrets.reveal import VAULT
from app.secrets.vault import Vault
from app.secrets.vault_refresh import VaultRefresh
from app.server.last_known import serve_last_known
from app.server.listening_socket import check_grpc_port
from app.server.sample_data import seed
from app.server.startup_retry import StartupRetry
from app.server.workers import Worker
from app.settings import Pooler, Secret, Settings, Tier
from app.tasks import Tasks
from app.threads import ThreadLimiter

COMPONENTS: web.AppKey[list[Component]] = web.AppKey("components", list)
TASKS: web.AppKey[Tasks] = web.AppKey("tasks", Tasks)
STARTUP_RETRY: web.AppKey[StartupRetry] = web.AppKey("startup_retry", StartupRetry)


def add_components(app: web.Application, settings: Settings, worker: Worker) -> None:
    """Create all components and the objects that handlers use, without starting them.

    Raises DataFolderError, KeyRingError and GrpcMissingError.
    """
    key = token_key(settings)
    database = Database(settings.database, Primary(settings.data_dir))
    server = DatabaseServer(settings)
    follower = Follower(database, settings.snapshot_idle_seconds)
    # Wakes the streams, so that a stream whose token was revoked ends.
    directory = TokenDirectory(database, key, on_change=follower.wake)
    access_log = AccessLog(
        database, StdoutLog.of_stdout() if settings.access.log_on_stdout else None
    )
    disk = Disk(settings.data_dir, key, settings.tier) if settings.snapshot_on_disk else None
    disk_copy = DiskCopy(follower, directory, disk)
    checks = ContentChecks()
    vault = Vault(wrapper_of(settings))

    components: list[Component] = []
    app[COMPONENTS] = components
    app[TASKS] = tasks = Tasks()
    app[LIFECYCLE] = lifecycle = Lifecycle()
    app[STARTUP_RETRY] = retry = StartupRetry()
    app[HEALTH] = Health(components, tasks, lifecycle, settings.instance)
    app[PEERS] = Peers(
        Collector(components, tasks, settings.instance),
        lifecycle.serving,
        number=worker.number,
        folder=worker.folder,
    )
    app[SETTINGS] = settings
    app[DATABASE] = database
    app[FOLLOWER] = follower
    app[TOKENS] = directory
    app[ACCESS_LOG] = access_log
    app[CHECKS] = checks
    app[GROUP_COMMIT] = (
        GroupCommit(database, wait_seconds=settings.database.acquire_timeout_seconds)
        if settings.group_commit
        else None
    )
    app[VAULT] = vault
    app[TOKEN_USE] = TokenUse(database, directory)
    app[USAGE] = Usage(database)
    app[UPLOADS] = Uploads(database)
    app[RATES] = EvaluationRates(app[USAGE])
    app[PREVIEWS] = Previews(checks)
    app[WATCH] = ProposalWatch(
        *(database, vault, checks, access_log), key=key, on_event=follower.wake
    )
    app[BUDGET] = BodyBudget(settings.http.bodies_bytes_max)
    app[DURATIONS] = Durations()
    app[STREAMS] = Broadcast(follower, lifecycle)
    app[RATE_LIMIT] = RateLimit()
    app[TICKETS] = Tickets(directory, key, settings.http.public_url)
    app[DIGEST_KEY] = derive(key, Purpose.REQUEST_DIGESTS)
    app[RIGHTS_DIGEST] = rights_digest
    app[CORS] = Cors(settings.http.cors_origins)
    app[TRANSFER_LIMITER] = ThreadLimiter(TRANSFER_WAIT_SECONDS)
    app[DECODE_LIMITER] = ThreadLimiter(TRANSFER_WAIT_SECONDS)

    components += [
        app[DURATIONS],
        app[BUDGET],
        app[STREAMS],
        feed_of(app),
        FunctionComponent("content_checks", close=checks.close),
        app[PEERS],
        # Requests are refused and logged even while the last known state is served.
        access_log,
        *flagd_sync_of(app, settings, worker),
        FunctionComponent(
            "last_known", run=partial(serve_last_known, disk_copy, lifecycle, retry.delayed)
        ),
        server,
        Migrations(server, settings, database.primary),
        Pool(server, settings, database),
        SchemaCheck(database),
        Heartbeat(database, settings.health, settings.instance),
        FunctionComponent("check_role", start=partial(check_role, database, settings.tier)),
        DriftCheck(database),
        VaultRefresh(vault, database),
        directory,
        FunctionComponent(
            "admin_token",
            start=partial(ensure_admin_token, settings, database, directory, access_log),
        ),
        FunctionComponent("seed", start=partial(seed, settings, database)),
        follower,
        StepRecorder(database),
        FunctionComponent("announcer", run=database.announcer.run),
        FunctionComponent("collector", run=memory.run),
        app[TOKEN_USE],
        disk_copy,
        app[WATCH],
        app[USAGE],
        app[UPLOADS],
        app[RATES],
        *oidc_of(app, settings, key),
    ]
    if worker.number == 1:
        components += _once_per_service(settings, database, key)
    if settings.database.pooler is Pooler.NONE:
        # A pooler passes on no notifications: behind one, only the poll finds changes.
        hint = partial(_hint, follower, directory, app[WATCH])
        components.append(
            FunctionComponent(
                "listener",
                run=lambda: listen(server.targets.app, settings.database, hint, database.primary),
            )
        )
    if settings.database.target is not None and len(settings.database.target.hosts) > 1:
        components.append(
            FunctionComponent(
                "primary",
                run=lambda: database.watch.run(server.targets.app, settings.database),
            )
        )


def feed_of(app: web.Application, depth: Callable[[], int] = lambda: 0) -> Feed:
    """Return what the application gives to relays that follow it."""
    app[FEED] = feed = Feed(app[FOLLOWER], app[TOKENS], depth)
    return feed


def flagd_sync_of(app: web.Application, settings: Settings, worker: Worker) -> Sequence[Component]:
    """Return the component of flagd's sync service, if it is on. Raises GrpcMissingError."""
    if not settings.grpc.is_on:
        return ()
    # Few services need them.
    from app.flags.flagd_sync.access import CallAccess  # noqa: PLC0415
    from app.flags.flagd_sync.component import FlagdSync  # noqa: PLC0415

    access = CallAccess(settings.grpc, app[TOKENS], app[ACCESS_LOG], app[RATE_LIMIT])
    return (
        FlagdSync(
            settings.grpc,
            app[FOLLOWER],
            app[LIFECYCLE],
            access,
            check_port=partial(check_grpc_port, settings),
            shares_port=bool(worker.sockets),
            serves_socket=worker.number == 1,
        ),
    )


def oidc_of(app: web.Application, settings: Settings, key: Secret) -> Sequence[Component]:
    """Return the components of the sign-in with OpenID Connect, if it is on."""
    if settings.oidc.issuer is None or settings.http.public_url is None:
        return ()
    # Few services need them.
    from app.access.oidc.flow import OidcSignIn  # noqa: PLC0415
    from app.access.oidc.provider import Provider  # noqa: PLC0415
    from app.access.oidc.refresh import ClaimsRefresh  # noqa: PLC0415

    provider = Provider(settings.oidc)
    app[OIDC] = sign_in = OidcSignIn(provider, settings.http.public_url, key)
    return provider, ClaimsRefresh(app[DATABASE], sign_in, app[ACCESS_LOG])


def _once_per_service(settings: Settings, database: Database, key: Secret) -> Iterator[Component]:
    """Yield the components that run in one worker of a service."""
    # In the local tier the file is enough: such a line has 500 characters.
    level = logging.DEBUG if settings.tier is Tier.LOCAL else logging.INFO
    yield HeadExport(database, settings.audit.heads_file, key, log_level=level)
    if settings.backups.interval_seconds:
        yield Schedule(settings.backups, key)
    if settings.backups.verify_interval_seconds:
        yield Drill(settings, key)


def _hint(
    follower: Follower, directory: TokenDirectory, watch: ProposalWatch, payload: str
) -> None:
    """Pass on a notification. An empty payload means that notifications may have been missed."""
    environment, _, revision = payload.rpartition(":")
    if environment and revision.isascii() and revision.isdecimal() and len(revision) < 19:
        follower.notice(environment, int(revision))
    elif payload not in {CHANGE_OF_TOKENS, CHANGE_OF_PROPOSALS}:
        follower.hint()
    if payload in {"", CHANGE_OF_TOKENS}:
        directory.hint()
    if payload in {"", CHANGE_OF_PROPOSALS}:
        watch.hint()
