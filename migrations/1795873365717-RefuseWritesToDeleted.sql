-- Expand: no release writes to a deleted environment. An older one does not look at deleted_at.
-- type: schema
-- phase: core
-- Each change set begins with this update. Without a row it is not found, as its environment is.
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
