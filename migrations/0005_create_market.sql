-- What is bid for at the market, what was bought, and which machines came of it. Prices: dollars per node-hour.

create table skus (
    id text primary key,
    alias text not null,
    gpu_type text not null,
    gpus_per_node integer not null check (gpus_per_node > 0),
    seen_at timestamptz not null
);

create table capacity_plans (
    id text primary key,
    policy text not null,
    made_at timestamptz not null,
    dry_run boolean not null,
    -- What it was decided from, so that it can be decided again.
    inputs jsonb not null,
    notes text[] not null default '{}',
    state text not null check (state in ('proposed', 'shown', 'executed', 'superseded', 'expired')),
    -- The plan that was executed last when this one looked: if it is not the last any more, this one is out of date.
    follows text references capacity_plans,
    executed_at timestamptz,
    constraint capacity_plans_dry_runs_are_shown check (dry_run = (state = 'shown')),
    constraint capacity_plans_executed_has_time check ((state = 'executed') = (executed_at is not null))
);

create index capacity_plans_made on capacity_plans (made_at desc, id desc);
create index capacity_plans_executed on capacity_plans (executed_at desc, id desc) where state = 'executed';
create index capacity_plans_proposed on capacity_plans (id) where state = 'proposed';

create table orders (
    id text primary key,
    side text not null check (side in ('buy', 'sell')),
    sku text not null,
    nodes integer not null check (nodes > 0),
    starts_at timestamptz not null check (extract(epoch from starts_at)::bigint % 60 = 0),
    ends_at timestamptz not null check (extract(epoch from ends_at)::bigint % 60 = 0),
    limit_price numeric(12, 6) not null check (limit_price > 0),
    allow_standing boolean not null,
    allow_partial boolean not null,
    purpose text not null,
    plan_id text references capacity_plans,
    requested_by text not null,
    idempotency_key text unique,
    created_at timestamptz not null,

    state text not null,
    approved_by text,
    -- When it became an intent: at once, or once an operator had approved it.
    intended_at timestamptz,
    -- When it was first and last sent, or may have been. Who looks after it has it leased; each lease has a number.
    sent_at timestamptz,
    last_sent_at timestamptz,
    send_leases integer not null default 0,
    send_leased_until timestamptz,
    market_id text unique,
    cancel_asked_at timestamptz,
    filled_at timestamptz,
    ended_at timestamptz,
    amount numeric(20, 6) not null default 0 check (amount >= 0),
    message text,
    -- A sale: what the market takes of it, per node-hour and of what it brings; and the nodes that are kept free for whoever buys.
    fee_flat numeric(12, 6),
    fee_bps integer,
    drained text[] not null default '{}',

    constraint orders_proposed_is_not_intended check ((state = 'proposed') <= (intended_at is null)),
    constraint orders_window_not_empty check (starts_at < ends_at),
    constraint orders_ended_has_time check (
        (state in ('filled', 'rejected', 'cancelled', 'withdrawn')) = (ended_at is not null)),
    constraint orders_at_market_has_id check (
        state not in ('pending', 'standing', 'partially_filled', 'filled', 'cancelled') or market_id is not null),
    constraint orders_withdrawn_has_no_id check (state <> 'withdrawn' or market_id is null)
);

create index orders_open on orders (created_at) where ended_at is null;
create index orders_created on orders (created_at desc, id desc);

create table order_moves (from_state text, to_state text, primary key (from_state, to_state));
insert into order_moves values
    ('proposed', 'intended'), ('proposed', 'withdrawn'),
    ('intended', 'withdrawn'), ('intended', 'pending'), ('intended', 'rejected'),
    ('pending', 'standing'), ('pending', 'partially_filled'), ('pending', 'filled'), ('pending', 'cancelled'),
    ('pending', 'rejected'),
    ('standing', 'partially_filled'), ('standing', 'filled'), ('standing', 'cancelled'), ('standing', 'rejected'),
    ('partially_filled', 'filled'), ('partially_filled', 'cancelled'), ('partially_filled', 'rejected'),
    -- Given up, and then the market's answer came after all.
    ('withdrawn', 'pending'), ('rejected', 'pending');

create trigger orders_legal_move before update of state on orders
    for each row when (old.state is distinct from new.state) execute function check_move('order_moves');

create table plan_actions (
    plan_id text not null references capacity_plans,
    position integer not null,
    kind text not null check (kind in ('buy', 'extend', 'sell', 'lapse')),
    sku text not null,
    nodes integer not null check (nodes > 0),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    limit_price numeric(12, 6),
    -- All of its nodes or none.
    whole boolean not null default false,
    -- The queued jobs that it was bought for.
    jobs text[] not null default '{}',
    reason text not null,
    -- What became of it: the order, or why there is none.
    order_id text references orders,
    outcome text,
    primary key (plan_id, position)
);

create index plan_actions_order on plan_actions (order_id) where jobs <> '{}';

create table fills (
    order_id text not null references orders,
    position integer not null,
    contract text,
    filled_at timestamptz not null,
    price numeric(12, 6) not null check (price >= 0),
    -- [[start, end, nodes], ...]: with the rest of the row, what it is known by when the market tells of it again.
    parts jsonb not null,
    amount numeric(20, 6) not null check (amount >= 0),
    primary key (order_id, position)
);

-- A rectangle that was bought at one price: a fill whose schedule is in several pieces has several.
create table blocks (
    id text primary key,
    order_id text not null,
    fill integer not null,
    part integer not null,
    sku text not null,
    nodes integer not null check (nodes > 0),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    price numeric(12, 6) not null,
    unique (order_id, fill, part),
    foreign key (order_id, fill) references fills,
    check (starts_at < ends_at)
);

create index blocks_ends_at on blocks (ends_at);

-- Nodes of blocks that were sold back: never more than once, and no machine of ours sits on them any more.
create table sales (
    block_id text not null references blocks,
    seat integer not null check (seat >= 0),
    during tstzrange not null check (not isempty(during)),
    order_id text not null,
    fill integer not null,
    price numeric(12, 6) not null,
    foreign key (order_id, fill) references fills,
    constraint sales_once exclude using gist (block_id with =, seat with =, during with &&)
);

create table instances (
    id text primary key,
    sku text not null,
    state text not null default 'wanted' check (state in ('wanted', 'booting', 'joined', 'ended')),
    market_id text unique,
    node_id text unique references nodes,
    wanted_at timestamptz not null,
    -- When the market was first asked for it, or may have been.
    asked_at timestamptz,
    -- How often: each try has a number and a join token of its own, and only the last of them is ours.
    asks integer not null default 0,
    ask_leased_until timestamptz,
    -- When we knew that the market has it.
    created_at timestamptz,
    running_at timestamptz,
    joined_at timestamptz,
    ready_at timestamptz,
    ended_at timestamptz,
    until timestamptz not null,
    -- The market was told to end it before others.
    yields boolean not null default false,
    -- From then on it takes no work and no seat, and is ended at the market; `end_reason` says why.
    end_asked_at timestamptz,
    end_reason text,
    constraint instances_ended_has_time check ((state = 'ended') = (ended_at is not null)),
    constraint instances_end_has_reason check (
        (end_asked_at is null and ended_at is null) = (end_reason is null)),
    constraint instances_joined_has_node check (state not in ('joined') or node_id is not null)
);

create index instances_live on instances (sku) where state <> 'ended';

-- Which machine used which node of which block, and when: from a GPU second to what was paid for it.
create table seatings (
    instance_id text not null references instances,
    block_id text not null references blocks,
    seat integer not null check (seat >= 0),
    during tstzrange not null check (not isempty(during)),
    constraint seatings_one_machine_a_seat exclude using gist (block_id with =, seat with =, during with &&),
    constraint seatings_one_seat_a_machine exclude using gist (instance_id with =, during with &&)
);

create table market_controls (
    only_row boolean primary key default true check (only_row),
    buying_stopped_at timestamptz,
    stopped_by text,
    stop_reason text,
    -- The pool at the market that everything is bought into, and since when: the statement before that isn't ours.
    pool_id text,
    pool_since timestamptz,
    constraint market_controls_stop_is_whole check (
        (buying_stopped_at is null) = (stopped_by is null) and (stopped_by is null) = (stop_reason is null))
);
insert into market_controls default values;

-- The market's own statement of our account.
create table market_transactions (
    number bigint generated always as identity primary key,
    cursor text not null unique,
    at timestamptz not null,
    kind text not null,
    amount_cents bigint not null,
    balance_cents bigint not null,
    market_order_id text,
    seen_at timestamptz not null,
    -- A line of no order of ours, for which somebody has answered.
    accepted_by text,
    accepted_why text,
    constraint market_transactions_accepted_with_a_reason check ((accepted_by is null) = (accepted_why is null))
);

create index market_transactions_order on market_transactions (market_order_id);

-- How the market answered each kind of call, of all processes: what /metrics shows. `up_to`: seconds.
create table market_calls (
    operation text not null,
    outcome text not null,
    up_to double precision not null,
    calls bigint not null,
    seconds double precision not null,
    primary key (operation, outcome, up_to)
);

create table reconciliations (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    findings jsonb not null,
    agrees boolean generated always as (findings = '[]'::jsonb) stored,
    figures jsonb not null
);

create index reconciliations_at on reconciliations (at desc);

-- One row an hour and kind of machine: what was traded in that hour, and how the book stood when it was looked at.
create table market_prices (
    sku text not null,
    hour timestamptz not null,
    trades integer not null check (trades >= 0),
    node_hours numeric(20, 6) not null,
    low numeric(12, 6),
    average numeric(12, 6),
    high numeric(12, 6),
    quotes jsonb not null default '{}',
    depth jsonb not null default '{}',
    available_nodes integer,
    observed_at timestamptz,
    primary key (sku, hour),
    constraint market_prices_traded check ((trades = 0) = (average is null))
);

-- A machine that the market gave us joins with a token of its own, and takes work once it has shown what it is.
alter table join_tokens add column instance_id text references instances;
alter table nodes drop constraint nodes_state_check;
alter table nodes add constraint nodes_state_check check (state in ('checking', 'ready', 'draining', 'gone'));
alter table nodes add column unfit text;

-- GPUs that are kept for an organisation.
create table reservations (
    id text primary key,
    organisation_id text not null references organisations,
    gpu_type text not null,
    gpus integer not null check (gpus > 0),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    created_by text not null references api_keys,
    idempotency_key text,
    created_at timestamptz not null,
    released_at timestamptz,
    check (starts_at < ends_at),
    unique (organisation_id, idempotency_key)
);

create index reservations_held on reservations (ends_at) where released_at is null;

-- What a customer is willing to have paid for the GPUs; null: whatever the platform's own limit allows.
alter table jobs add column max_price_per_gpu_hour numeric(12, 6) check (max_price_per_gpu_hour > 0);
