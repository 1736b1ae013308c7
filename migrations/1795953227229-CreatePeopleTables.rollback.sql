-- The sessions of people go. The earlier constraints refuse the new scopes.
delete from sessions
where person_id is not null
   or scopes && array ['propose', 'approve'];

alter table sessions
    drop constraint sessions_scopes_known,
    add constraint sessions_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin', 'publish']
        ),
    drop constraint sessions_environments_given,
    add constraint sessions_environments_given
        check (
            cardinality(environments) > 0
            and array_position(environments, null) is null
            and array_position(environments, '') is null
        ),
    drop constraint sessions_person_id_fkey,
    drop column person_id;

drop table access_history;

drop table projects;

drop table grants;

drop table roles;

drop table people;
