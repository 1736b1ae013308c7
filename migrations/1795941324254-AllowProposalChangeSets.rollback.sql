-- The history is append-only: change sets of proposals stay, and the constraint holds for new rows.
alter table change_sets
    drop constraint change_sets_kind_known,
    add constraint change_sets_kind_known
        check (kind in ('edit', 'revert', 'restore', 'promote', 'import', 'scheduled', 'delete'))
        not valid;
