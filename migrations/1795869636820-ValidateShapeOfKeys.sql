-- Contract: every key has the shape that the last file allows. Beside the service, whose writes it does not block.
-- type: schema
-- phase: constraint
alter table configurations
    validate constraint configurations_key_well_formed;

alter table changes
    validate constraint changes_key_well_formed;
