-- Expand: who has uploaded the values of a list that waits for a proposal. Only that author may name
-- the list, as long as no entry does. Null for all lists of earlier releases.
-- type: schema
-- phase: core
alter table list_states
    add column staged_by text;

comment on column list_states.staged_by is 'The author of a refused write, who may name the state in a proposal. Null for the states that an entry names at once.';
