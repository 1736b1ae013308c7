alter table property_changes
    drop constraint property_changes_protection_objects,
    add constraint property_changes_protection_objects
        check (
            jsonb_typeof(before_protection) = 'object' and jsonb_typeof(after_protection) = 'object'
        ) not valid;

alter table change_sets
    drop constraint change_sets_approval_object,
    add constraint change_sets_approval_object check (jsonb_typeof(approval) = 'object') not valid;
