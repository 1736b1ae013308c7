drop index concurrently if exists proposal_events_author_index;
