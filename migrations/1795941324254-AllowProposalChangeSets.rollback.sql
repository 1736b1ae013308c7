-- The history is append-only. So the rollback is refused if there are change sets of proposals.
alter table change_sets
    drop constraint change_sets_kind_known,
    add constraint change_sets_kind_known
        check (kind in ('edit', 'revert', 'restore', 'promote', 'import', 'scheduled', 'delete'));
