-- What a connection sees of the server behind a pooler.

-- name: get_backend_id()$
select pg_backend_pid();

-- name: is_statement_known(statement)$
-- A pooler that keeps prepared statements gives them names of its own.
select exists (
    select 1
    from pg_prepared_statements
    where name = :statement
);
