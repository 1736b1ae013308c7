-- Environments: name, tier, properties, and the counter of their change sets.
-- Owner: environments/.

-- name: list_environments(name, with_deleted)
-- All environments, or the one with this name.
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
    version,
    protection
from environments
where (:name::text is null or name = :name)
  and (deleted_at is null or :with_deleted)
order by name;

-- name: is_environment_deleted(name)$
select deleted_at is not null
from environments
where name = :name;

-- name: lock_environment(name)^
-- For a transaction that reads before it writes: the revision cannot change until it ends. Not `for
-- update`, which would also block every insert of a row that refers to the environment.
select revision
from environments
where name = :name
  and deleted_at is null
for no key update;

-- name: hold_environments(names)
-- The environments cannot be deleted until the transaction ends. A deletion locks the environment
-- first and then its tokens. Locks in this order cannot deadlock.
select name
from environments
where name = any(:names::text[])
  and deleted_at is null
order by name
for share;

-- name: insert_environment(name, tier)$
-- Creates it with the default properties; its first change set sets others. Returns null if the
-- name is taken. If the name belongs to a deleted environment, its revisions continue in a new
-- epoch. The parameter is text: a restore recreates our own types, which would break a prepared
-- statement.
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
-- Runs after its last change set, in the same transaction. A trigger destroys its data keys and the
-- counts of its flag evaluations.
update environments
set deleted_at = current_timestamp
where name = :name;

-- name: list_heads()
-- The revision and hash of each environment. The hash covers its whole history.
select
    name,
    epoch::text as epoch,
    revision,
    encode(hash, 'hex') as hash
from environments
order by name;

-- name: is_behind(environments, epochs, revisions)$
-- Whether an environment has fewer revisions than were read before. A new epoch may begin with
-- fewer.
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
-- Environments that differ from the ones that the migrations create.
select count(*)
from environments
where revision > 0
   or name not in ('local', 'development', 'staging', 'production');

-- name: renew_epoch(environment, epoch)$
-- If the change set that we have read is missing, the database was restored by other means. A new
-- epoch makes every client start again. Only the first instance that notices does this.
update environments
set epoch = gen_random_uuid()
where name = :environment
  and epoch = :epoch::uuid
returning epoch::text;

-- name: renew_epochs()
-- A new epoch makes clients start again, since revisions went back.
update environments
set epoch = gen_random_uuid()
returning
    name,
    epoch::text as epoch,
    revision;
