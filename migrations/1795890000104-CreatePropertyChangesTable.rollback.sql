drop table property_changes;
