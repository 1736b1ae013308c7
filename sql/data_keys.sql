-- Data keys, wrapped by a key-encryption key.
-- Owner: secrets/.

-- name: find_data_keys(environment, ids)
select
    environment,
    id,
    kek_id,
    wrapped
from data_keys
where environment = :environment
  and id = any(:ids::bytea[]);

-- name: find_active_data_key(environment)^
-- Only a holder of the lock of the environment creates or retires a data key. So the result stays
-- true under that lock.
select
    environment,
    id,
    kek_id,
    wrapped
from data_keys
where environment = :environment
  and retired_at is null;

-- name: insert_data_key(environment, id, kek_id, wrapped)!
insert into data_keys (environment, id, kek_id, wrapped)
values (:environment, :id, :kek_id, :wrapped);

-- name: list_data_keys()
select
    environment,
    id,
    kek_id,
    wrapped,
    created_at,
    retired_at,
    destroyed_at
from data_keys
order by
    environment,
    created_at,
    id;

-- name: lock_older_data_keys(environment)
-- Prevent the destruction of these keys until the transaction ends. Otherwise values that it opened
-- could be sealed again with a data key that was created after the destruction.
select id
from data_keys
where environment = :environment
  and retired_at is not null
  and wrapped is not null
for share;

-- name: rewrap_data_key(environment, id, old_kek_id, kek_id, wrapped)$
-- Returns null if another process was faster, or if the key was destroyed meanwhile.
update data_keys
set kek_id = :kek_id,
    wrapped = :wrapped
where environment = :environment
  and id = :id
  and kek_id = :old_kek_id
  and wrapped is not null
returning true;

-- name: retire_data_key(environment)!
update data_keys
set retired_at = current_timestamp
where environment = :environment
  and retired_at is null;

-- name: destroy_data_keys(environment)
-- The row stays, so that a destroyed key differs from a missing one.
update data_keys
set wrapped = null,
    retired_at = coalesce(retired_at, current_timestamp),
    destroyed_at = current_timestamp
where environment = :environment
  and destroyed_at is null
returning id;

-- name: count_data_keys_wrapped_by(kek_id)$
select count(*)
from data_keys
where kek_id = :kek_id
  and wrapped is not null;

-- name: count_sealed_by(environment, ids)^
select
    (
        select count(*)
        from configurations
        where configurations.environment = :environment
          and configurations.sealed is not null
          and substr(configurations.sealed, 3, 8) = any(:ids::bytea[])
    ) as entries,
    (
        select count(*)
        from changes
        where changes.environment = :environment
          and changes.before_sealed is not null
          and substr(changes.before_sealed, 3, 8) = any(:ids::bytea[])
    ) as befores,
    (
        select count(*)
        from changes
        where changes.environment = :environment
          and changes.after_sealed is not null
          and substr(changes.after_sealed, 3, 8) = any(:ids::bytea[])
    ) as afters;
