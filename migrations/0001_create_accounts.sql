-- Who may do what: organisations, their users, API keys, join tokens of nodes, and the record of who did what.

create table organisations (
    id text primary key,
    name text not null unique check (length(name) between 1 and 100),
    -- GPUs in use at one time; null: no limit.
    max_gpus integer check (max_gpus >= 0),
    created_at timestamptz not null default now()
);

create table users (
    id text primary key,
    organisation_id text not null references organisations,
    email text not null unique check (email like '%_@_%'),
    created_at timestamptz not null default now()
);

-- Only the SHA-256 of a key is stored. A key has 160 random bits, so that a slow hash would add nothing.
create table api_keys (
    id text primary key,
    prefix text not null unique,
    hash bytea not null unique check (octet_length(hash) = 32),
    role text not null check (role in ('customer', 'operator', 'node')),
    name text not null check (length(name) between 1 and 100),
    organisation_id text references organisations,
    user_id text references users,
    node_id text,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    constraint api_keys_customer_has_organisation check (role <> 'customer' or organisation_id is not null),
    constraint api_keys_node_has_node check ((role = 'node') = (node_id is not null))
);

create table join_tokens (
    id text primary key,
    prefix text not null unique,
    hash bytea not null unique check (octet_length(hash) = 32),
    max_uses integer not null check (max_uses > 0),
    uses integer not null default 0,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint join_tokens_not_overused check (uses between 0 and max_uses)
);

create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor text not null,
    action text not null,
    subject text not null,
    details jsonb not null default '{}'
);

create index audit_log_subject on audit_log (subject, id);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: a correction is a new row', tg_table_name using errcode = 'restrict_violation';
end
$$;

create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function refuse_change();
