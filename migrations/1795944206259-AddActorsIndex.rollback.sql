drop index concurrently if exists change_sets_actor_index;
