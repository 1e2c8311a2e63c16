-- What GPU-seconds cost, and what each hour of usage came to.

create table rate_cards (
    id text primary key,
    name text not null check (length(name) between 1 and 100),
    -- Null: the default, for whoever has none of their own.
    organisation_id text references organisations,
    -- At full hours, so that no hour has two cards.
    effective_from timestamptz not null check (effective_from = date_trunc('hour', effective_from, 'UTC')),
    effective_until timestamptz check (effective_until = date_trunc('hour', effective_until, 'UTC')),
    -- As it was set, without an end: it holds until the next one begins.
    open_ended boolean not null,
    -- Micro-dollars a month.
    minimum_commitment bigint not null default 0 check (minimum_commitment >= 0),
    -- Null: as the default has it.
    discount_percent numeric(7, 4) check (discount_percent between 0 and 100),
    -- A month; null: as the default has it.
    free_gpu_seconds numeric(20, 6) check (free_gpu_seconds >= 0),
    created_at timestamptz not null,
    created_by text not null,
    -- It was never in force.
    withdrawn_at timestamptz check (withdrawn_at < effective_from),
    constraint rate_cards_commitment_is_an_organisations check (organisation_id is not null or minimum_commitment = 0),
    constraint rate_cards_in_force_for_a_time check (effective_from < effective_until),
    constraint rate_cards_one_at_a_time exclude using gist (
        coalesce(organisation_id, '') with =, tstzrange(effective_from, effective_until) with &&)
        where (withdrawn_at is null)
);

create table rate_card_prices (
    rate_card_id text not null references rate_cards,
    -- '*': every type that has no price of its own.
    gpu_type text not null check (length(gpu_type) between 1 and 64),
    tier text not null check (tier in ('fast', 'flex')),
    model jsonb not null check (model ? 'model'),
    primary key (rate_card_id, gpu_type, tier)
);

-- A card that was in force stays what it was: a new price is a new card. Only its end may be set, and one that is yet to
-- begin be withdrawn.
create function rate_card_only_ends() returns trigger language plpgsql as $$
begin
    if to_jsonb(new) - 'effective_until' - 'withdrawn_at' <> to_jsonb(old) - 'effective_until' - 'withdrawn_at'
            or (old.withdrawn_at is not null and new is distinct from old) then
        raise exception 'a rate card is never changed, only ended or withdrawn' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger rate_cards_only_end before update on rate_cards for each row execute function rate_card_only_ends();
create trigger rate_cards_stay before delete or truncate on rate_cards for each statement execute function refuse_change();
create trigger rate_card_prices_stay before update or delete or truncate on rate_card_prices
    for each statement execute function refuse_change();

create table coupons (
    id text primary key,
    code text not null unique check (length(code) between 1 and 64),
    -- Null: for whoever redeems it, or everybody's.
    organisation_id text references organisations,
    everybody boolean not null default false check (not everybody or organisation_id is null),
    percent_off numeric(7, 4) check (percent_off > 0 and percent_off <= 100),
    amount_off_micros bigint check (amount_off_micros > 0),
    starts_at timestamptz not null,
    ends_at timestamptz check (ends_at > starts_at),
    -- Off one invoice only, and not off each while it holds.
    once boolean not null,
    created_at timestamptz not null,
    created_by text not null,
    -- Taken back: off no invoice that isn't open yet.
    ended_at timestamptz,
    constraint coupons_take_off_one_way check ((percent_off is null) <> (amount_off_micros is null))
);

create table coupon_redemptions (
    organisation_id text not null references organisations,
    coupon_id text not null references coupons,
    at timestamptz not null,
    redeemed_by text not null,
    primary key (organisation_id, coupon_id)
);

create index coupon_redemptions_coupon on coupon_redemptions (coupon_id);

-- What the market asked per GPU-second in an hour, as the hour was first rated by: what it asks is learned late, and an
-- hour that is rated again is rated by the same.
create table rated_market_prices (
    hour timestamptz not null check (hour = date_trunc('hour', hour, 'UTC')),
    gpu_type text not null,
    price numeric(20, 12) not null check (price >= 0),
    primary key (hour, gpu_type)
);

create trigger rated_market_prices_stay before update or delete or truncate on rated_market_prices
    for each statement execute function refuse_change();

-- What an hour of a run costs, as differences: its rows add up to what it costs by what is known now. Credits are
-- negative, in seconds and in money.
create table rated_lines (
    id bigint generated always as identity primary key,
    hour timestamptz not null check (hour = date_trunc('hour', hour, 'UTC')),
    -- Copied from `hourly_usage`, the run and its job, and checked there.
    run_id text not null,
    job_id text not null,
    organisation_id text not null,
    -- Whose API key submitted the job, and the project that its labels name.
    key_id text not null,
    project text,
    tier text not null,
    gpu_type text not null,
    kind text not null check (kind in ('usage', 'credit')),
    gpu_seconds numeric(20, 6) not null,
    -- Those of them that the card gives away.
    free_seconds numeric(20, 6) not null default 0,
    -- Dollars.
    exact numeric(38, 18) not null,
    -- Micro-dollars.
    amount bigint not null,
    -- A card's id, or 'built-in'.
    rate_card_id text not null,
    -- The transaction of the ledger that has it; none where nothing in it was worth a micro-dollar.
    ledger_source text not null,
    rated_at timestamptz not null
);

create index rated_lines_hour on rated_lines (hour);
create index rated_lines_job on rated_lines (job_id, run_id, hour);
create index rated_lines_organisation on rated_lines (organisation_id, hour);
create index rated_lines_ledger_source on rated_lines (ledger_source);

create trigger rated_lines_append_only before update or delete or truncate on rated_lines
    for each statement execute function refuse_change();

-- A projection of the lines: what was counted of a month. Credits take away what they credit.
create table month_quantities (
    month timestamptz not null check (month = date_trunc('month', month, 'UTC')),
    organisation_id text not null,
    gpu_type text not null,
    tier text not null,
    gpu_seconds numeric(20, 6) not null,
    free_seconds numeric(20, 6) not null,
    primary key (month, organisation_id, gpu_type, tier)
);

-- Which build of the hour's usage was rated: where `metered_hours` has another by now, the hour is rated again.
create table rated_hours (
    hour timestamptz primary key check (hour = date_trunc('hour', hour, 'UTC')),
    rated_at timestamptz not null,
    built_at timestamptz,
    last_event_id bigint,
    -- How often it was rated with a difference: the number of its next posting follows.
    ratings integer not null default 0
);

-- What was doubtful about usage, in words, and somebody has looked at: it holds no hour back.
create table accepted_doubts (
    says text primary key,
    accepted_at timestamptz not null,
    accepted_by text not null
);

-- Whose an event is, and where, is copied from its task and its job, which say so by keys of their own: ten thousand
-- events a second need not look at the same few rows again, nor lock them.
alter table usage_events drop constraint usage_events_organisation_id_fkey, drop constraint usage_events_node_id_fkey;

create index hourly_usage_organisation on hourly_usage (organisation_id, hour);

-- Runs that the platform ended: what they used is credited.
create index job_runs_lost on job_runs (ended_at)
    where reason in ('container_lost', 'node_stopped', 'node_lost', 'block_ended');
