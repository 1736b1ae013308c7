alter table configurations
    drop constraint configurations_key_well_formed;

alter table configurations
    add constraint configurations_key_well_formed
        check (key ~ '^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$')
        not valid;

alter table changes
    drop constraint changes_key_well_formed;

alter table changes
    add constraint changes_key_well_formed
        check (key ~ '^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$')
        not valid;
