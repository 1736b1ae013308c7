-- Expand: what changes with each change of people, roles, grants and projects. Instances read it twice
-- a second, instead of these tables.
-- type: schema
-- phase: core
create table access_editions (
    part     text  not null collate "C",
    edition  uuid  not null default gen_random_uuid(),

    constraint access_editions_pkey primary key (part),
    constraint access_editions_part_known check (part ~ '^([0-9A-Za-z]|granting)$')
)
-- An update finds room in the page, so that dead rows do not fill more pages.
with (fillfactor = 50);

comment on table access_editions is 'An instance reads people and grants again when an edition differs from the one that it knows. Only triggers write it.';
comment on column access_editions.part is 'The first character of the ids of people, or granting for roles, grants and projects.';
comment on column access_editions.edition is 'Random, and not a number: a restored database could count to the same number again.';

-- With the rights of the owner, so that a change by hand of any role counts. The parts are sorted:
-- two changes lock them in the same order.
create function renew_people_editions() returns trigger
language plpgsql
security definer
set search_path = flagstone, pg_temp
as $function$
declare
    parts text[];
begin
    if tg_op = 'INSERT' then
        parts := array(select distinct left(id, 1) from present);
    elsif tg_op = 'UPDATE' then
        parts := array(select left(id, 1) from present union select left(id, 1) from gone);
    elsif tg_op = 'DELETE' then
        parts := array(select distinct left(id, 1) from gone);
    else
        parts := array(select part from access_editions where part <> 'granting');
    end if;
    insert into access_editions (part)
    select part
    from unnest(parts) as changed (part)
    order by part collate "C"
    on conflict on constraint access_editions_pkey do update set edition = excluded.edition;
    return null;
end
$function$;

create function renew_granting_edition() returns trigger
language plpgsql
security definer
set search_path = flagstone, pg_temp
as $function$
begin
    insert into access_editions (part)
    values ('granting')
    on conflict on constraint access_editions_pkey do update set edition = excluded.edition;
    return null;
end
$function$;

create trigger people_renew_editions_inserted
    after insert on people
    referencing new table as present
    for each statement
    execute function renew_people_editions();

create trigger people_renew_editions_updated
    after update on people
    referencing old table as gone new table as present
    for each statement
    execute function renew_people_editions();

create trigger people_renew_editions_deleted
    after delete on people
    referencing old table as gone
    for each statement
    execute function renew_people_editions();

create trigger people_renew_editions_truncated
    after truncate on people
    for each statement
    execute function renew_people_editions();

create trigger roles_renew_edition
    after insert or update or delete or truncate on roles
    for each statement
    execute function renew_granting_edition();

create trigger grants_renew_edition
    after insert or update or delete or truncate on grants
    for each statement
    execute function renew_granting_edition();

create trigger projects_renew_edition
    after insert or update or delete or truncate on projects
    for each statement
    execute function renew_granting_edition();

-- Also for a session whose session_replication_role is replica.
alter table people
    enable always trigger people_renew_editions_inserted,
    enable always trigger people_renew_editions_updated,
    enable always trigger people_renew_editions_deleted,
    enable always trigger people_renew_editions_truncated;

alter table roles
    enable always trigger roles_renew_edition;

alter table grants
    enable always trigger grants_renew_edition;

alter table projects
    enable always trigger projects_renew_edition;

insert into access_editions (part)
select distinct left(id, 1)
from people
union all
select 'granting';

comment on column people.first_seen_at is 'The first sign-in.';
comment on column people.last_seen_at is 'The last sign-in. A refresh of the claims is none.';
