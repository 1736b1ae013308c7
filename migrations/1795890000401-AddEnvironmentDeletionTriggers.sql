-- The rules for deleted environments, for every release and every role.
-- type: schema
-- phase: constraint

-- The service may not change data keys. So this function destroys them with the rights of the owner,
-- in the transaction that deletes the environment.
create function shred_deleted_environment() returns trigger
language plpgsql
security definer
set search_path = flagstone, pg_temp
as $function$
begin
    update data_keys
    set wrapped = null,
        retired_at = coalesce(retired_at, current_timestamp),
        destroyed_at = current_timestamp
    where environment = new.name
      and destroyed_at is null;
    delete from flag_usage
    where environment = new.name;
    return null;
end
$function$;

create trigger environments_shred_when_deleted
    after update of deleted_at on environments
    for each row
    when (old.deleted_at is null and new.deleted_at is not null)
    execute function shred_deleted_environment();

-- Each change set begins with an update of the revision. This function skips that update if the
-- environment is deleted. So the writer finds no row and reports that the environment does not exist.
create function skip_deleted_environment() returns trigger
language plpgsql
set search_path = flagstone, pg_temp
as $function$
begin
    return null;
end
$function$;

create trigger environments_stay_deleted
    before update of revision on environments
    for each row
    when (old.deleted_at is not null and new.deleted_at is not null)
    execute function skip_deleted_environment();
