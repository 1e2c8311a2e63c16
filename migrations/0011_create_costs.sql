-- What each hour of each block cost, and which runs bore it. Projections of blocks, sales, seatings and usage events.

create table costed_hours (
    hour timestamptz primary key check (hour = date_trunc('hour', hour, 'UTC')),
    costed_at timestamptz,
    -- `metered_hours.built_at` that it was made from: a later one makes it stale. Null: nothing had been metered.
    metered_at timestamptz,
    -- What it was made from has changed since: a purchase or a sale was told of late.
    stale boolean not null default true,
    -- What of it the ledger has, in micro-dollars, and in how many postings.
    posted bigint not null default 0,
    postings integer not null default 0,
    constraint costed_hours_made_or_stale check (stale or costed_at is not null)
);

create index costed_hours_stale on costed_hours (hour) where stale;

-- All nodes of one block in one hour. Micro-dollars.
create table node_costs (
    hour timestamptz not null references costed_hours,
    block_id text not null references blocks,
    gpu_type text not null,
    -- What was ours of it, and what runs used of that.
    gpu_seconds numeric(20, 6) not null check (gpu_seconds >= 0),
    used_gpu_seconds numeric(20, 6) not null check (used_gpu_seconds >= 0),
    cost bigint not null check (cost >= 0),
    direct bigint not null check (direct >= 0),
    idle_shared bigint not null check (idle_shared >= 0),
    idle_unshared bigint not null check (idle_unshared >= 0),
    primary key (hour, block_id),
    constraint node_costs_add_up check (cost = direct + idle_shared + idle_unshared)
);

create index node_costs_block on node_costs (block_id);

-- What of it one run bears: for the GPUs that it used, and its share of the hour's idle ones.
create table run_costs (
    hour timestamptz not null references costed_hours,
    run_id text not null references job_runs,
    job_id text not null references jobs,
    organisation_id text not null references organisations,
    block_id text not null references blocks,
    gpu_seconds numeric(20, 6) not null check (gpu_seconds > 0),
    cost bigint not null check (cost >= 0),
    idle_cost bigint not null check (idle_cost >= 0),
    primary key (hour, run_id, block_id)
);

create index run_costs_job on run_costs (job_id, hour);
create index run_costs_block on run_costs (block_id, hour);

-- What the ledger has of each fill, in micro-dollars: a purchase's price, or what a sale brought, its fee, and what the
-- nodes that were sold had cost; in how many postings.
create table posted_fills (
    order_id text not null,
    position integer not null,
    amount bigint not null check (amount >= 0),
    fee bigint not null check (fee between 0 and amount),
    cost_of_sold bigint not null check (cost_of_sold >= 0),
    postings integer not null,
    posted_at timestamptz not null,
    primary key (order_id, position),
    foreign key (order_id, position) references fills
);

create index sales_order on sales (order_id, fill);
