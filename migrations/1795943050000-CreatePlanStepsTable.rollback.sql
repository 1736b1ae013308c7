drop table plan_steps;
