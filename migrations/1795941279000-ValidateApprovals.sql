-- Contract: check the constraints of AddProtection on the rows that exist, without blocking writers.
-- type: schema
-- phase: constraint
alter table property_changes
    validate constraint property_changes_protection_objects;

alter table change_sets
    validate constraint change_sets_approval_object;
