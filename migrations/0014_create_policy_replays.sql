-- What a month would have been under each policy: the last replay of each counts.

create table policy_replays (
    month date not null check (month = date_trunc('month', month)),
    policy text not null,
    report jsonb not null,
    made_at timestamptz not null,
    primary key (month, policy)
);
