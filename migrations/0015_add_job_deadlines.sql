-- By when a flex job is to be done. When it has to start follows from how long it may run.

alter table jobs
    add column deadline timestamptz,
    add constraint jobs_with_a_deadline_can_wait
        check (deadline is null or (tier = 'flex' and max_runtime_seconds is not null));

create index jobs_by_deadline on jobs (deadline) where deadline is not null;
