-- The four environments of a new installation.
-- type: data
-- phase: reference
insert into environments (name, tier, protected)
values
    ('local',       'local',       false),
    ('development', 'development', false),
    ('staging',     'staging',     false),
    ('production',  'production',  true);
