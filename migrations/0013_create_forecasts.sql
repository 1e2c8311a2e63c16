-- What was wanted hour by hour, what is forecast of it and of prices, and how good that was.

-- Hours whose demand was looked at: an hour that is here and has no row in the history had no demand.
create table demand_hours (
    hour timestamptz primary key check (hour = date_trunc('hour', hour, 'UTC')),
    built_at timestamptz not null,
    constraint demand_hours_are_over check (built_at >= hour + interval '1 hour')
);

-- GPU-hours that customers wanted. What was refused for its price or its quota is apart: more nodes wouldn't have helped.
create table demand_history (
    hour timestamptz not null references demand_hours on delete cascade,
    -- 'any': queued for whatever type there is.
    gpu_type text not null,
    tier text not null check (tier in ('fast', 'flex')),
    running double precision not null default 0 check (running >= 0),
    queued double precision not null default 0 check (queued >= 0),
    refused_for_price double precision not null default 0 check (refused_for_price >= 0),
    refused_for_quota double precision not null default 0 check (refused_for_quota >= 0),
    primary key (gpu_type, tier, hour)
);

create index demand_history_hour on demand_history (hour);

-- One series at one hour: `issued_at` is the first hour that was not known.
create table forecasts (
    id text primary key,
    kind text not null check (kind in ('demand', 'price')),
    -- A GPU type, or a kind of machine.
    subject text not null,
    tier text check (tier in ('fast', 'flex')),
    issued_at timestamptz not null check (issued_at = date_trunc('hour', issued_at, 'UTC')),
    made_at timestamptz not null,
    member text not null,
    weights jsonb not null,
    notes text[] not null default '{}',
    -- Mean change from one day to the next over the 56 days before: what errors are measured by. Null: not known.
    scale double precision check (scale >= 0),
    constraint forecasts_of_demand_have_a_tier check ((kind = 'demand') = (tier is not null)),
    constraint forecasts_look_ahead check (made_at >= issued_at),
    constraint forecasts_once unique nulls not distinct (kind, subject, tier, issued_at)
);

-- GPUs, or dollars per node-hour.
create table forecast_hours (
    forecast_id text not null references forecasts on delete cascade,
    hour timestamptz not null check (hour = date_trunc('hour', hour, 'UTC')),
    q05 double precision not null check (q05 >= 0),
    q10 double precision not null,
    q25 double precision not null,
    q50 double precision not null,
    q75 double precision not null,
    q90 double precision not null,
    q95 double precision not null,
    -- What the best naive copy says.
    naive double precision not null,
    primary key (forecast_id, hour),
    constraint forecast_hours_never_cross check (
        q05 <= q10 and q10 <= q25 and q25 <= q50 and q50 <= q75 and q75 <= q90 and q90 <= q95)
);

create index forecast_hours_hour on forecast_hours (hour);

-- Once an hour's truth is known. Only forecasts of the day ahead are scored: it is what is planned by.
create table forecast_scores (
    forecast_id text not null,
    hour timestamptz not null,
    truth double precision not null,
    error double precision not null check (error >= 0),
    naive_error double precision not null check (naive_error >= 0),
    pinball double precision not null check (pinball >= 0),
    inside boolean not null,
    scored_at timestamptz not null,
    primary key (forecast_id, hour),
    foreign key (forecast_id, hour) references forecast_hours on delete cascade,
    constraint forecast_scores_hour_is_over check (scored_at >= hour + interval '1 hour')
);

create index forecast_scores_hour on forecast_scores (hour);

-- Whether the slow member (Prophet) was worth its time when it was last tried on a series.
create table forecast_trials (
    kind text not null check (kind in ('demand', 'price')),
    subject text not null,
    tier text,
    at timestamptz not null,
    worth boolean not null,
    constraint forecast_trials_one_a_series unique nulls not distinct (kind, subject, tier)
);
