-- A constraint cannot become unvalidated. The rollback of AllowProposalChangeSets replaces it.
select 1;
