comment on column people.last_seen_at is null;
comment on column people.first_seen_at is null;

drop trigger projects_renew_edition on projects;

drop trigger grants_renew_edition on grants;

drop trigger roles_renew_edition on roles;

drop trigger people_renew_editions_truncated on people;

drop trigger people_renew_editions_deleted on people;

drop trigger people_renew_editions_updated on people;

drop trigger people_renew_editions_inserted on people;

drop function renew_granting_edition();

drop function renew_people_editions();

drop table access_editions;
