-- Machines, and which of their GPUs are whose at which time.

create extension if not exists btree_gist;

create table nodes (
    id text primary key,
    name text not null,
    state text not null default 'ready' check (state in ('ready', 'draining', 'gone')),
    gpus integer not null check (gpus >= 0),
    gpu_type text not null,
    gpu_memory_bytes bigint,
    cpus double precision not null check (cpus > 0),
    memory_bytes bigint not null check (memory_bytes > 0),
    runtime text not null check (runtime in ('docker', 'process')),
    agent_version text not null,
    boot_id text not null,
    address text,
    joined_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    -- The end of the block that it was bought with; null: open-ended.
    available_until timestamptz,
    -- Counts every change of its desired state: what a long poll waits on.
    desired_version bigint not null default 0
);

-- One live node a name: a machine that joins again under its name takes the old one's place only once that is gone.
create unique index nodes_live_name on nodes (name) where state <> 'gone';

alter table api_keys add constraint api_keys_node_id_fkey foreign key (node_id) references nodes;

-- One container of a run on one node: a run of a gang has one a node, by rank.
create table run_tasks (
    run_id text not null references job_runs,
    rank integer not null check (rank >= 0),
    node_id text not null references nodes,
    cpus double precision not null check (cpus > 0),
    memory_bytes bigint not null check (memory_bytes > 0),
    state text not null default 'pending' check (state in ('pending', 'starting', 'running', 'ended')),
    detail text,
    container_id text,
    started_at timestamptz,
    ended_at timestamptz,
    ending text,
    exit_code integer,
    message text,
    stdout_bytes bigint not null default 0,
    stderr_bytes bigint not null default 0,
    primary key (run_id, rank),
    constraint run_tasks_ended_has_time check ((state = 'ended') = (ended_at is not null)),
    constraint run_tasks_time_runs_forward check (ended_at >= started_at)
);

create index run_tasks_of_node on run_tasks (node_id) where state <> 'ended';
-- Tasks that ran in a given hour.
create index run_tasks_ended_at on run_tasks (ended_at);

-- A GPU is never two runs' at one time: Postgres says so, not only the scheduler.
create table gpu_assignments (
    node_id text not null references nodes,
    gpu_index integer not null check (gpu_index >= 0),
    run_id text not null,
    rank integer not null,
    during tstzrange not null check (not isempty(during)),
    primary key (run_id, rank, gpu_index),
    foreign key (run_id, rank) references run_tasks,
    constraint gpu_assignments_no_overlap exclude using gist
        (node_id with =, gpu_index with =, during with &&)
);

create index gpu_assignments_open on gpu_assignments (node_id) where upper_inf(during);

-- The output of a task, in the order of arrival; offsets count bytes, from the start of the task and of its stream.
create table log_chunks (
    run_id text not null,
    rank integer not null,
    start bigint not null check (start >= 0),
    stream text not null check (stream in ('stdout', 'stderr')),
    stream_start bigint not null check (stream_start >= 0),
    data bytea not null check (octet_length(data) > 0),
    primary key (run_id, rank, start),
    unique (run_id, rank, stream, stream_start),
    foreign key (run_id, rank) references run_tasks
);
