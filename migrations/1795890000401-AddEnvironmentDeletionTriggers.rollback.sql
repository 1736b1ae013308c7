drop trigger environments_stay_deleted on environments;

drop function skip_deleted_environment();

drop trigger environments_shred_when_deleted on environments;

drop function shred_deleted_environment();
