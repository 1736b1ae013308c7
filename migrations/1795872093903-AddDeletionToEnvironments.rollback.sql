drop trigger environments_shred_when_deleted on environments;

drop function shred_deleted_environment();

alter table tokens
    drop constraint tokens_lapsed_within_environments,
    drop column lapsed;

-- Fails while a deleted environment is there: without these columns it would come back to life.
alter table change_sets
    drop constraint change_sets_kind_known;

alter table change_sets
    add constraint change_sets_kind_known
        check (kind in ('edit', 'revert', 'restore', 'promote', 'import', 'scheduled'));

alter table environments
    drop constraint environments_first_revision_within,
    drop column first_revision,
    drop column deleted_at;
