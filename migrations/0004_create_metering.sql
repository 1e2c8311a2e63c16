-- What was used: immutable events as nodes report them, and the hours made from them.

create table usage_events (
    id bigint generated always as identity primary key,
    run_id text not null,
    rank integer not null,
    kind text not null check (kind in ('started', 'alive', 'ended')),
    sequence integer not null default 0 check (sequence >= 0),
    at timestamptz not null,
    gpus integer not null check (gpus > 0),
    organisation_id text not null references organisations,
    tier text not null,
    gpu_type text not null,
    node_id text not null references nodes,
    received_at timestamptz not null default clock_timestamp(),
    foreign key (run_id, rank) references run_tasks,
    -- Once a run, rank and event: a second report of the same is no second event.
    constraint usage_events_once unique (run_id, rank, kind, sequence),
    constraint usage_events_only_alive_counts check ((kind = 'alive') = (sequence > 0))
);

create index usage_events_at on usage_events (at);

create trigger usage_events_append_only before update or delete or truncate on usage_events
    for each statement execute function refuse_change();

-- A projection of usage_events: an hour can be thrown away and rebuilt at any time.
create table hourly_usage (
    hour timestamptz not null check (hour = date_trunc('hour', hour, 'UTC')),
    run_id text not null references job_runs,
    organisation_id text not null references organisations,
    tier text not null,
    gpu_type text not null,
    gpu_seconds numeric(20, 6) not null check (gpu_seconds > 0),
    primary key (hour, run_id, gpu_type)
);

-- Up to which event an hour was built: a later one that touches it makes it stale. Whoever inserts events holds
-- advisory lock 7205 shared, so that under the exclusive lock the highest id is a true watermark (no lower id is still
-- on its way).
create table metered_hours (
    hour timestamptz primary key check (hour = date_trunc('hour', hour, 'UTC')),
    last_event_id bigint not null,
    built_at timestamptz not null
);
