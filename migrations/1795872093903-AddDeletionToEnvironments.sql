-- Expand: an environment can be deleted. Its row and its history stay, and its name can be used again.
-- type: schema
-- phase: core
-- The table of environments has a few rows and there are few tokens: checking them takes no time.
-- The constraint is replaced by a wider one in the same transaction.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint
alter table environments
    add column deleted_at timestamptz,
    add column first_revision bigint not null default 1,
    add constraint environments_first_revision_within
        check (first_revision between 1 and greatest(revision, 0) + 1);

comment on column environments.deleted_at is 'When a change set of the kind delete closed its history. Null while it exists.';
comment on column environments.first_revision is 'The first of its revisions. Those before it are of deleted environments of the same name.';

alter table change_sets
    drop constraint change_sets_kind_known;

alter table change_sets
    add constraint change_sets_kind_known
        check (kind in ('edit', 'revert', 'restore', 'promote', 'import', 'scheduled', 'delete'))
        not valid;

alter table tokens
    add column lapsed text[] not null default '{}',
    add constraint tokens_lapsed_within_environments check (lapsed <@ environments);

comment on column tokens.lapsed is 'Names among its environments that were deleted since, in the order in which they were. A later environment of such a name is another one. Its MACs were sealed anew with each, so the row is worthless without them.';

-- The service may neither change nor destroy a data key. So deleting an environment does it with the
-- rights of the owner, and in the same transaction.
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
