drop table schema_fingerprints;
