-- What customers asked for, and each try to run it. The jobs table is the queue.

create table jobs (
    id text primary key,
    organisation_id text not null references organisations,
    created_by text not null references api_keys,
    idempotency_key text,
    request_hash bytea,

    name text not null,
    image text not null,
    command text[],
    args text[],
    env jsonb not null default '{}',
    labels jsonb not null default '{}',
    gpus integer not null check (gpus between 1 and 64),
    gpu_type text,
    nodes integer not null default 1 check (nodes between 1 and 64),
    cpus double precision check (cpus > 0),
    memory_bytes bigint check (memory_bytes > 0),
    tier text not null check (tier in ('fast', 'flex')),
    priority integer not null default 0,
    max_runtime_seconds integer check (max_runtime_seconds > 0),
    max_attempts integer not null default 1 check (max_attempts between 1 and 10),
    retry_on text[] not null default '{}',

    state text not null default 'queued',
    reason text,
    -- Ends that were the job's own doing, and those that were the platform's: only the first use up its attempts.
    failures integer not null default 0,
    interruptions integer not null default 0,
    submitted_at timestamptz not null default now(),
    -- Queued since: a retry or a requeue starts a new wait.
    queued_at timestamptz not null default now(),
    not_before timestamptz,
    ended_at timestamptz,
    waiting jsonb,
    -- A Dagster run that waits for this job's next placement (a re-execution asked for in its UI).
    requested_dagster_run_id uuid,

    constraint jobs_idempotency_key unique (organisation_id, idempotency_key),
    constraint jobs_ended_has_time check (
        (state in ('succeeded', 'failed', 'cancelled', 'dead_letter')) = (ended_at is not null))
);

create index jobs_queue on jobs (priority desc, queued_at, id) where state = 'queued';
create index jobs_of_organisation on jobs (organisation_id, id desc);
create index jobs_labels on jobs using gin (labels jsonb_path_ops);

create table job_moves (from_state text, to_state text, primary key (from_state, to_state));
insert into job_moves values
    ('queued', 'placed'), ('queued', 'cancelled'),
    ('placed', 'running'), ('placed', 'queued'), ('placed', 'succeeded'), ('placed', 'failed'),
    ('placed', 'cancelled'), ('placed', 'dead_letter'),
    ('running', 'queued'), ('running', 'succeeded'), ('running', 'failed'),
    ('running', 'cancelled'), ('running', 'dead_letter'),
    ('succeeded', 'queued'), ('failed', 'queued'), ('cancelled', 'queued'), ('dead_letter', 'queued');

create table job_runs (
    id text primary key,
    job_id text not null references jobs,
    attempt integer not null check (attempt >= 1),
    state text not null default 'placed',
    reason text,
    message text,
    exit_code integer,
    -- Fencing: a report that carries another token changes nothing.
    token text not null unique,
    dagster_run_id uuid unique,
    placed_at timestamptz not null,
    launched_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    stop_reason text,
    stop_requested_at timestamptz,
    -- Who asks Dagster to launch it has it leased for that; each try asks under another run key.
    launch_leased_until timestamptz,
    launch_tries integer not null default 0,
    -- How much of this run's life Dagster has been told, and who is telling it right now.
    mirrored text not null default 'nothing' check (mirrored in ('nothing', 'started', 'running', 'ended')),
    mirror_leased_until timestamptz,

    constraint job_runs_attempt unique (job_id, attempt),
    constraint job_runs_ended_has_reason check (
        (state in ('succeeded', 'failed', 'cancelled')) = (ended_at is not null)
        and (ended_at is not null) = (reason is not null)),
    constraint job_runs_stop_has_reason check ((stop_reason is null) = (stop_requested_at is null))
);

-- A job never runs twice at the same time.
create unique index job_runs_one_active on job_runs (job_id) where ended_at is null;
create index job_runs_to_launch on job_runs (placed_at) where dagster_run_id is null and ended_at is null;
create index job_runs_to_mirror on job_runs (id) where mirrored <> 'ended' and dagster_run_id is not null;

create table run_moves (from_state text, to_state text, primary key (from_state, to_state));
insert into run_moves values
    ('placed', 'launched'), ('launched', 'starting'), ('launched', 'running'), ('starting', 'running'),
    ('placed', 'failed'), ('placed', 'cancelled'),
    ('launched', 'succeeded'), ('launched', 'failed'), ('launched', 'cancelled'),
    ('starting', 'succeeded'), ('starting', 'failed'), ('starting', 'cancelled'),
    ('running', 'succeeded'), ('running', 'failed'), ('running', 'cancelled');

-- The argument is the table of legal moves: one function serves jobs and runs.
create function check_move() returns trigger language plpgsql as $$
declare legal boolean;
begin
    execute format('select exists (select from %I where from_state = $1 and to_state = $2)', tg_argv[0])
        into legal using old.state, new.state;
    if not legal then
        raise exception '% can''t go from % to %', tg_table_name, old.state, new.state
            using errcode = 'check_violation', constraint = tg_table_name || '_legal_move';
    end if;
    return new;
end
$$;

create trigger jobs_legal_move before update of state on jobs
    for each row when (old.state is distinct from new.state) execute function check_move('job_moves');
create trigger job_runs_legal_move before update of state on job_runs
    for each row when (old.state is distinct from new.state) execute function check_move('run_moves');
