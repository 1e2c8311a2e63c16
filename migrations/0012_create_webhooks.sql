-- What customers are told of by HTTP: the outbox of events, where they want them, and what became of each delivery.

-- As scalar/ids.py makes them: a time in milliseconds, then random bits; newer ids sort after older ones.
create function webhook_id(prefix text) returns text language sql volatile as $$
    select prefix || '_' || string_agg(
        substr('0123456789abcdefghjkmnpqrstvwxyz',
            1 + case when i < 10 then ((made.ms >> (5 * (9 - i))) & 31)::int else get_byte(made.random, i - 10) & 31 end,
            1),
        '' order by i)
    from (select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as ms,
                 uuid_send(gen_random_uuid()) as random) as made,
         generate_series(0, 25) as i
$$;

create table webhook_endpoints (
    id text primary key,
    organisation_id text not null references organisations,
    url text not null check (length(url) between 1 and 2048),
    description text not null default '' check (length(description) <= 200),
    -- Types of events, or their beginnings ('job.*'); none: every type.
    event_types text[] not null default '{}',
    enabled boolean not null default true,
    created_at timestamptz not null,
    disabled_at timestamptz,
    disabled_reason text,
    -- The first failure since it last took something.
    failing_since timestamptz,
    constraint webhook_endpoints_disabled_has_reason check (
        enabled = (disabled_at is null) and (disabled_at is null) = (disabled_reason is null))
);

create index webhook_endpoints_organisation on webhook_endpoints (organisation_id, id desc);

-- What the signing secrets are made from, with the platform's own key; which key that was, is recognised by its check.
create table webhook_secrets (
    id bigint generated always as identity primary key,
    endpoint_id text not null references webhook_endpoints on delete cascade,
    seed bytea not null check (octet_length(seed) = 32),
    key_check text not null,
    created_at timestamptz not null,
    -- Null: the newest one. The one before it stays valid for a day.
    expires_at timestamptz
);

create unique index webhook_secrets_newest on webhook_secrets (endpoint_id) where expires_at is null;
create index webhook_secrets_endpoint on webhook_secrets (endpoint_id);

-- The outbox: written in the transaction in which the thing itself happens.
create table webhook_events (
    id text primary key default webhook_id('evt'),
    organisation_id text not null references organisations,
    type text not null check (type ~ '^[a-z_]+\.[a-z_]+$'),
    at timestamptz not null,
    data jsonb not null check (jsonb_typeof(data) = 'object'),
    written_at timestamptz not null default clock_timestamp()
);

create index webhook_events_organisation on webhook_events (organisation_id, id desc);
create index webhook_events_written on webhook_events (written_at);

-- One event on its way to one endpoint.
create table webhook_deliveries (
    id text primary key default webhook_id('whd'),
    event_id text not null references webhook_events on delete cascade,
    endpoint_id text not null references webhook_endpoints on delete cascade,
    organisation_id text not null references organisations,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    created_at timestamptz not null default clock_timestamp(),
    tries integer not null default 0 check (tries >= 0),
    -- Nobody takes it up before. Who has taken it up moves this on by the length of a lease: should they die, it is
    -- somebody else's then.
    next_try_at timestamptz default clock_timestamp(),
    lease uuid,
    first_tried_at timestamptz,
    last_tried_at timestamptz,
    ended_at timestamptz,
    -- Of the last try: the endpoint's status and the beginning of what it said, or why there is none.
    status integer,
    message text,
    response text,
    constraint webhook_deliveries_ended_has_time check ((state = 'pending') = (ended_at is null)),
    constraint webhook_deliveries_pending_has_next_try check ((state = 'pending') = (next_try_at is not null)),
    constraint webhook_deliveries_only_pending_is_leased check (lease is null or state = 'pending')
);

-- An event waits for an endpoint once, however often it is replayed meanwhile.
create unique index webhook_deliveries_one_pending on webhook_deliveries (event_id, endpoint_id) where state = 'pending';
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, next_try_at) where state = 'pending';
create index webhook_deliveries_event on webhook_deliveries (event_id);
create index webhook_deliveries_organisation on webhook_deliveries (organisation_id, id desc);
create index webhook_deliveries_endpoint on webhook_deliveries (endpoint_id, id desc);

-- A ping goes to the endpoint that is pinged, whatever it wants otherwise.
create function webhook_takes(wanted text[], type text) returns boolean language sql immutable
    return type <> 'webhook.ping'
        and (wanted = '{}' or type = any (wanted) or split_part(type, '.', 1) || '.*' = any (wanted));

create function webhook_fan_out() returns trigger language plpgsql as $$
begin
    insert into webhook_deliveries (event_id, endpoint_id, organisation_id)
        select new.id, e.id, e.organisation_id from webhook_endpoints e
        where e.organisation_id = new.organisation_id and e.enabled and webhook_takes(e.event_types, new.type);
    return null;
end
$$;

create trigger webhook_events_fan_out after insert on webhook_events
    for each row execute function webhook_fan_out();

-- As `scalar.webhooks.outbox` writes times.
create function webhook_time(moment timestamptz) returns text language sql immutable
    return to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- Whatever moves a job, its customer is told of: there is no other way to a new state than through here. Neither its
-- command nor its environment is part of it, since both may hold secrets.
create function webhook_job_moved() returns trigger language plpgsql as $$
declare
    last job_runs;
begin
    select * into last from job_runs where job_id = new.id order by attempt desc limit 1;
    insert into webhook_events (organisation_id, type, at, data) values (
        new.organisation_id,
        'job.' || case new.state when 'running' then 'started' when 'queued' then 'requeued' else new.state end,
        coalesce(
            case new.state when 'running' then last.started_at when 'queued' then new.queued_at else new.ended_at end,
            clock_timestamp()),
        jsonb_build_object(
            'id', new.id, 'name', new.name, 'state', new.state, 'previous_state', old.state, 'reason', new.reason,
            'labels', new.labels, 'tier', new.tier, 'gpus', new.gpus, 'nodes', new.nodes, 'gpu_type', new.gpu_type,
            'attempt', last.attempt, 'exit_code', last.exit_code,
            'submitted_at', webhook_time(new.submitted_at), 'queued_at', webhook_time(new.queued_at),
            'started_at', webhook_time(last.started_at), 'ended_at', webhook_time(new.ended_at)));
    return null;
end
$$;

create trigger jobs_tell_their_customer after update of state on jobs
    for each row when (old.state is distinct from new.state and new.state <> 'placed')
    execute function webhook_job_moved();
