-- Environments: name, tier, properties, and the counter of their change sets.
-- Owner: environments/.

-- name: list_environments(with_deleted)
select
    name,
    tier::text as tier,
    revision,
    first_revision,
    epoch::text as epoch,
    encode(hash, 'hex') as hash,
    protected,
    fractional,
    metadata,
    version
from environments
where deleted_at is null
   or :with_deleted
order by name;

-- name: find_environment(name, with_deleted)^
select
    name,
    tier::text as tier,
    revision,
    first_revision,
    epoch::text as epoch,
    encode(hash, 'hex') as hash,
    protected,
    fractional,
    metadata,
    version
from environments
where name = :name
  and (deleted_at is null or :with_deleted);

-- name: is_environment_deleted(name)$
select deleted_at is not null
from environments
where name = :name;

-- name: lock_environment(name)^
-- For a transaction that reads before it writes: the revision cannot change until it ends. Not
-- for update: that would also block every insert of a row that refers to the environment.
select revision
from environments
where name = :name
  and deleted_at is null
for no key update;

-- name: hold_environments(names)
-- They cannot be deleted until the transaction ends.
select name
from environments
where name = any(:names::text[])
  and deleted_at is null
order by name
for share;

-- name: hold_environments_of_token(token_id)
-- A deletion locks the environment first and then its tokens. Locks in this order cannot deadlock.
select name
from environments
where name in (
    select named.environment
    from tokens
    cross join unnest(tokens.environments) as named (environment)
    where tokens.id = :token_id
)
and deleted_at is null
order by name
for share of environments;

-- name: advance_revision(environment)^
-- Takes the row's lock, so that writers of one environment queue here and revisions have no gaps:
-- a transaction that fails gives its number back. The hash is the one that the new change set follows on,
-- and the properties are those that it may change.
update environments
set revision = revision + 1
where name = :environment
  and deleted_at is null
returning
    revision,
    epoch::text as epoch,
    hash as previous_hash,
    current_timestamp as created_at,
    metadata,
    fractional,
    protected,
    version;

-- name: lock_making_environments()$
-- Whoever makes an environment waits here for who does already, so that what is counted next holds.
select pg_advisory_xact_lock(1701736041)::text;

-- name: count_environments()$
select count(*)
from environments
where deleted_at is null;

-- name: insert_environment(name, tier)$
-- With the properties that every environment begins with; its first change set says what else it gets.
-- Null when the name is taken. A deleted environment left such a row: its revisions go on, in a new epoch.
-- The parameter is text: of a type of our own a prepared statement would not outlive a restore, which
-- makes the type anew.
insert into environments (name, tier)
values (:name, :tier::text::environment_tier)
on conflict on constraint environments_pkey do update
set tier = excluded.tier,
    epoch = excluded.epoch,
    created_at = excluded.created_at,
    first_revision = environments.revision + 1,
    deleted_at = null
where environments.deleted_at is not null
returning true;

-- name: close_environment(name)!
-- After its last change set, in the same transaction. A trigger destroys its data keys and the counts
-- of how its flags were used.
update environments
set deleted_at = current_timestamp
where name = :name;

-- name: list_heads()
-- Where each environment stands: the hash stands for all of its history.
select
    name,
    epoch::text as epoch,
    revision,
    encode(hash, 'hex') as hash
from environments
order by name;

-- name: list_counters()
-- Each environment without what it says of itself, which may be what nobody can read.
select
    name,
    revision
from environments
order by name;

-- name: is_behind(environments, epochs, revisions)$
-- Whether an environment has fewer revisions than were read before. A new epoch may begin lower.
select exists (
    select 1
    from environments
    join unnest(
        :environments::text[],
        :epochs::uuid[],
        :revisions::bigint[]
    ) as known (name, epoch, revision)
        on known.name = environments.name
        and known.epoch = environments.epoch
    where environments.revision < known.revision
);

-- name: count_changed_environments()$
-- Those that are not as a migration made them.
select count(*)
from environments
where revision > 0
   or name not in ('local', 'development', 'staging', 'production');

-- name: renew_epoch(environment, epoch)$
-- When what we stand at is gone, the database was restored without a word: whoever believed in the
-- revisions that are gone must start anew. Only the first instance that notices does this.
update environments
set epoch = gen_random_uuid()
where name = :environment
  and epoch = :epoch::uuid
returning epoch::text;

-- name: renew_epochs()
-- Whoever knows the revisions of before starts anew instead of believing that they went back.
update environments
set epoch = gen_random_uuid()
returning
    name,
    epoch::text as epoch,
    revision;
