drop table environments;

drop type environment_tier;
