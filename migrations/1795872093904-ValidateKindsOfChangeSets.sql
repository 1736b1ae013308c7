-- Contract: every change set is of a known kind. Beside the service, whose writes it does not block.
-- type: schema
-- phase: constraint
alter table change_sets
    validate constraint change_sets_kind_known;
