drop index concurrently if exists changes_named_list_index;
