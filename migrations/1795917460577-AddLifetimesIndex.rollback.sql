drop index concurrently if exists changes_lifetimes_index;
