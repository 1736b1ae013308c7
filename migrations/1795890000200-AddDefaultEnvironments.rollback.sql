delete from environments
where name in ('local', 'development', 'staging', 'production');
