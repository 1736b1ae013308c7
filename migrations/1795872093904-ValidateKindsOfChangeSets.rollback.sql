alter table change_sets
    drop constraint change_sets_kind_known;

alter table change_sets
    add constraint change_sets_kind_known
        check (kind in ('edit', 'revert', 'restore', 'promote', 'import', 'scheduled', 'delete'))
        not valid;
