alter table list_states
    drop column staged_by;
