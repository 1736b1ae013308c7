"""Everything that handlers and tasks ask for, made and joined, but closed."""

from collections import Counter
from functools import partial

from aiohttp import web

from app.access.directory import TokenDirectory
from app.access.guard import ACCESS_LOG, TOKENS
from app.access.last_used import TOKEN_USE, TokenUse
from app.access.log import AccessLog
from app.access.rate_limit import FAILURES, Failures
from app.access.stdout_log import Lines
from app.audit.head_export import HeadExport
from app.configuration.changes.checks import ContentChecks
from app.configuration.changes.write_requests import CHECKS
from app.configuration.snapshots.follower import Follower
from app.configuration.snapshots.keeper import Keeper
from app.configuration.snapshots.reading import FOLLOWER
from app.configuration.snapshots.streams import STREAMS
from app.configuration.transfer.handlers import LANE, LANE_WAIT_SECONDS
from app.database import Database
from app.database.client.primary import Primary
from app.flags.handlers import USAGE
from app.flags.ofrep.cors import CORS, Cors
from app.flags.ofrep.tickets import TICKETS, Tickets
from app.flags.usage import Usage
from app.health.handlers import HEALTH
from app.health.heartbeat import Heartbeat
from app.health.metrics import of_heartbeat
from app.health.report import Health
from app.http.budget import BodyBudget
from app.http.durations import Durations
from app.http.idempotency_key import DIGESTS, RequestDigest
from app.http.keys import BUDGET, DATABASE, DECODING, DURATIONS, LIFECYCLE, SETTINGS
from app.http.lifecycle import Lifecycle
from app.operations.backups.schedule import Schedule
from app.operations.metrics.collector import Collector
from app.operations.metrics.handlers import PEERS
from app.operations.metrics.peers import Peers
from app.schema.drift import DriftCheck
from app.schema.version_check import SchemaCheck
from app.secrets.reading import VAULT
from app.secrets.vault import Vault
from app.server.workers import Worker
from app.settings import Settings
from app.tasks import Tasks
from app.threads import Lane

TASKS: web.AppKey[Tasks] = web.AppKey("tasks", Tasks)
HEARTBEAT: web.AppKey[Heartbeat] = web.AppKey("heartbeat", Heartbeat)
SCHEMA: web.AppKey[SchemaCheck] = web.AppKey("schema", SchemaCheck)
DRIFT: web.AppKey[DriftCheck] = web.AppKey("drift", DriftCheck)
HEAD_EXPORT: web.AppKey[HeadExport] = web.AppKey("head_export", HeadExport)
SCHEDULE: web.AppKey[Schedule] = web.AppKey("schedule", Schedule)
KEEPER: web.AppKey[Keeper] = web.AppKey("keeper", Keeper)


def prepare(app: web.Application, settings: Settings, worker: Worker) -> None:
    """Make everything that handlers ask for, closed; `lifespan` opens it."""
    database = Database(settings.database, Primary(settings.data_dir))
    app[SETTINGS] = settings
    app[DATABASE] = database
    app[LIFECYCLE] = lifecycle = Lifecycle()
    app[FOLLOWER] = follower = Follower(database)
    # Woken, a stream whose token is gone ends.
    app[TOKENS] = directory = TokenDirectory(database, on_change=follower.wake)
    app[TOKEN_USE] = TokenUse(database, directory)
    app[FAILURES] = Failures()
    lines = Lines.of_stdout() if settings.access.log_on_stdout else None
    app[ACCESS_LOG] = access_log = AccessLog(database, lines)
    app[TICKETS] = Tickets(directory, settings.http.public_url)
    app[DIGESTS] = RequestDigest()
    app[CORS] = Cors(settings.http.cors_origins)
    app[VAULT] = vault = Vault()
    app[TASKS] = tasks = Tasks()
    app[LANE] = Lane(LANE_WAIT_SECONDS)
    app[CHECKS] = ContentChecks()
    app[DECODING] = Lane(LANE_WAIT_SECONDS)
    app[USAGE] = usage = Usage(database)
    app[HEARTBEAT] = heartbeat = Heartbeat(database, settings.health, settings.instance)
    app[SCHEMA] = schema = SchemaCheck(database)
    app[DRIFT] = drift = DriftCheck(database)
    app[KEEPER] = keeper = Keeper(follower, directory)
    app[HEAD_EXPORT] = heads = HeadExport(database, settings.audit.heads_file)
    app[SCHEDULE] = schedule = Schedule(settings.backups)
    app[HEALTH] = Health(
        lifecycle=lifecycle,
        database=database,
        heartbeat=heartbeat,
        schema=schema,
        drift=drift,
        follower=follower,
        keeper=keeper,
        vault=vault,
        tokens=directory,
        access_log=access_log,
        heads=heads,
        schedule=schedule,
        tasks=tasks,
        instance=settings.instance,
        is_first=worker.number == 1,
    )
    app[BUDGET] = budget = BodyBudget(settings.http.bodies_bytes_max)
    app[DURATIONS] = durations = Durations()
    app[STREAMS] = streams = Counter[str]()
    collector = Collector(
        instance=settings.instance,
        durations=durations,
        bodies=budget,
        streams=streams,
        database=database,
        heartbeat=partial(of_heartbeat, heartbeat),
        follower=follower,
        tokens=directory,
        access_log=access_log,
        heads=heads,
        vault=vault,
        drift=drift,
        schedule=schedule,
        tasks=tasks,
        evaluations=usage.totals,
    )
    app[PEERS] = Peers(collector.families, number=worker.number, folder=worker.folder)
