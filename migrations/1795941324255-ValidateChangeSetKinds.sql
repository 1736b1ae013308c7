-- Contract: check change_sets_kind_known on the rows that exist, without blocking writers.
-- type: schema
-- phase: constraint
alter table change_sets
    validate constraint change_sets_kind_known;
