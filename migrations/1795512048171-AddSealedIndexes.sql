-- Expand: sealed values are found by their data key, for who seals them anew or asks what a key still holds.
-- type: schema
-- phase: index
-- Nothing is sealed before this release, so the indexes are made of no rows and block nobody for long.
-- squawk-ignore-file require-concurrent-index-creation, constraint-missing-not-valid

-- Bytes 3 to 10 of a sealed value are the id of its data key.
create index configurations_data_key_index on configurations (environment, substr(sealed, 3, 8))
    where sealed is not null;

create index changes_before_data_key_index on changes (environment, substr(before_sealed, 3, 8))
    where before_sealed is not null;

create index changes_after_data_key_index on changes (environment, substr(after_sealed, 3, 8))
    where after_sealed is not null;

-- As configurations has it: a secret has no clear value in the history either.
alter table changes
    add constraint changes_before_secret_sealed
        check (
            (before_sealed is not null) = (before_kind is not distinct from 'secret')
            and (before_sealed is null or before_value is null)
        ),
    add constraint changes_after_secret_sealed
        check (
            (after_sealed is not null) = (after_kind is not distinct from 'secret')
            and (after_sealed is null or after_value is null)
        );
