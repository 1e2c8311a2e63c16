-- Credit that organisations have, what of it is promised to their jobs, and how much they may spend.

create table billing_accounts (
    -- No row: it is invoiced, and without a limit.
    organisation_id text primary key references organisations,
    terms text not null default 'invoiced' check (terms in ('invoiced', 'prepaid')),
    -- Micro-dollars that it may owe; null: no limit.
    credit_limit bigint check (credit_limit >= 0),
    -- How long its flex jobs run on once it has nothing left, and since when it has.
    grace_seconds integer not null default 300 check (grace_seconds >= 0),
    empty_since timestamptz,

    email text check (email like '%_@_%'),
    name text check (length(name) between 1 and 200),
    address jsonb,
    country text check (country ~ '^[A-Z]{2}$'),
    region text check (length(region) between 1 and 60),
    tax_exempt boolean not null default false,
    tax_id text check (length(tax_id) between 1 and 60),
    stripe_customer_id text unique,
    auto_pay boolean not null default true,
    created_at timestamptz not null default now(),
    constraint billing_accounts_prepaid_owe_nothing check (terms = 'invoiced' or credit_limit is null)
);

-- Credit as it came in: each lot is used up by itself, so that it can expire, and be explained.
create table wallet_lots (
    id text primary key,
    organisation_id text not null references organisations,
    kind text not null check (kind in ('purchase', 'grant')),
    amount bigint not null check (amount > 0),
    used bigint not null default 0 check (used >= 0),
    expired bigint not null default 0 check (expired >= 0),
    expires_at timestamptz,
    created_at timestamptz not null,
    note text not null default '' check (length(note) <= 500),
    -- What it came from, and what its posting in the ledger is called: made once.
    source text not null unique check (length(source) between 1 and 190),
    constraint wallet_lots_not_overdrawn check (used + expired <= amount),
    constraint wallet_lots_purchases_stay check (kind = 'grant' or expires_at is null)
);

create index wallet_lots_left on wallet_lots (organisation_id) where used + expired < amount;
create index wallet_lots_expiring on wallet_lots (expires_at) where used + expired < amount;

create function wallet_lot_only_goes_down() returns trigger language plpgsql as $$
begin
    if (new.id, new.organisation_id, new.kind, new.amount, new.source) is distinct from
       (old.id, old.organisation_id, old.kind, old.amount, old.source)
       or new.used < old.used or new.expired < old.expired then
        raise exception 'wallet lot % is only ever used up', old.id using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger wallet_lots_only_go_down before update on wallet_lots
    for each row execute function wallet_lot_only_goes_down();
create trigger wallet_lots_stay before delete or truncate on wallet_lots
    for each statement execute function refuse_change();

-- Credit used for usage as it was rated: what of which lot, by which transaction of the ledger.
create table credit_draws (
    id text primary key,
    organisation_id text not null references organisations,
    lot_id text not null references wallet_lots,
    amount bigint not null check (amount > 0),
    at timestamptz not null,
    ledger_source text not null
);

create index credit_draws_of_organisation on credit_draws (organisation_id, at);
create index credit_draws_of_lot on credit_draws (lot_id);

create trigger credit_draws_append_only before update or delete or truncate on credit_draws
    for each statement execute function refuse_change();

-- What a job may cost: held from when it is accepted; once it has ended, what it did cost, until that is rated.
create table holds (
    job_id text primary key references jobs,
    organisation_id text not null references organisations,
    key_id text not null,
    project text,
    amount bigint not null check (amount >= 0),
    made_at timestamptz not null,
    settled_at timestamptz,
    -- The last hour that it used: once that is rated, the ledger has it all and nothing is held any more.
    last_hour timestamptz,
    released_at timestamptz,
    constraint holds_released_are_settled check (released_at is null or settled_at is not null)
);

create index holds_standing on holds (organisation_id) where released_at is null;
create index holds_to_release on holds (last_hour) where released_at is null and settled_at is not null;

create table spend_caps (
    id text primary key,
    organisation_id text not null references organisations,
    scope text not null check (scope in ('organisation', 'key', 'project')),
    -- The id of the organisation or of the key, or the project's name: what jobs are labelled with as `project`.
    subject text not null check (length(subject) between 1 and 255),
    -- Micro-dollars in a month (UTC).
    monthly_limit bigint not null check (monthly_limit >= 0),
    created_at timestamptz not null default now(),
    constraint spend_caps_once unique (organisation_id, scope, subject)
);

-- Dollars that a job may cost in all its runs; it is stopped when it has.
alter table jobs add column max_cost numeric(18, 6) check (max_cost > 0);
