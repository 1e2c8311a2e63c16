-- The ledger: double-entry, append-only, in whole micro-dollars. A transaction's entries sum to zero.

create table ledger_accounts (
    name text primary key,
    kind text not null check (kind in ('asset', 'liability', 'income', 'expense')),
    -- Whose it is, for accounts that every organisation has one of.
    organisation_id text references organisations
);

create index ledger_accounts_organisation on ledger_accounts (organisation_id) where organisation_id is not null;

create table ledger_transactions (
    id bigint generated always as identity primary key,
    -- What it was made for: 'usage/2026-11-01T05', 'invoice/inv_…'. Posted once, whoever tries again.
    source text not null unique check (length(source) between 1 and 200),
    kind text not null check (length(kind) between 1 and 40),
    -- When it happened, as the books see it; a period that is closed takes no more.
    at timestamptz not null,
    description text not null default '',
    posted_at timestamptz not null default clock_timestamp(),
    -- The database transaction that wrote it: no other adds entries to it.
    posted_in xid8 not null default pg_current_xact_id()
);

create index ledger_transactions_at on ledger_transactions (at);

-- Debits are positive, credits negative.
create table ledger_entries (
    id bigint generated always as identity primary key,
    -- Both are there (a trigger below looks at all entries of a statement together), and neither ever goes.
    transaction_id bigint not null,
    account text not null,
    amount bigint not null check (amount <> 0)
);

create index ledger_entries_transaction on ledger_entries (transaction_id);
create index ledger_entries_account on ledger_entries (account, id);

create trigger ledger_transactions_append_only before update or delete or truncate on ledger_transactions
    for each statement execute function refuse_change();
create trigger ledger_accounts_stay before update of name or delete or truncate on ledger_accounts
    for each statement execute function refuse_change();
create trigger ledger_entries_append_only before update or delete or truncate on ledger_entries
    for each statement execute function refuse_change();

-- At the commit, so that a transaction may be written entry by entry.
create function ledger_transaction_sums_to_zero() returns trigger language plpgsql as $$
declare
    off numeric;
begin
    select sum(amount) into off from ledger_entries where transaction_id = new.id;
    if off is null then
        raise exception 'ledger transaction % has no entries', new.id
            using errcode = 'check_violation', constraint = 'ledger_has_entries';
    end if;
    if off <> 0 then
        raise exception 'ledger transaction % is off by % micro-dollars', new.id, off
            using errcode = 'check_violation', constraint = 'ledger_sums_to_zero';
    end if;
    return null;
end
$$;

create constraint trigger ledger_transactions_balance after insert on ledger_transactions
    deferrable initially deferred for each row execute function ledger_transaction_sums_to_zero();

-- A later entry to a transaction that stands already would go past the check above. Foreign keys would look at each of
-- an hour's thousand entries by itself, and lock what it refers to.
create function ledger_entries_belong() returns trigger language plpgsql as $$
begin
    if exists (
        select from added a left join ledger_transactions t on t.id = a.transaction_id
        where t.posted_in is distinct from pg_current_xact_id()
    ) then
        raise exception 'a ledger transaction takes no entries but those that it is committed with'
            using errcode = 'restrict_violation';
    end if;
    if exists (select from added a where not exists (select from ledger_accounts where name = a.account)) then
        raise exception 'an entry is of an account that there is not'
            using errcode = 'foreign_key_violation', constraint = 'ledger_entries_account';
    end if;
    return null;
end
$$;

create trigger ledger_entries_belong after insert on ledger_entries
    referencing new table as added for each statement execute function ledger_entries_belong();

-- A projection of the entries, kept in the transaction that writes them: it can be thrown away and rebuilt.
create table ledger_balances (
    account text primary key references ledger_accounts,
    amount bigint not null
);

-- Months that take no more transactions. Reopening is a row in the audit log.
create table closed_periods (
    month date primary key check (extract(day from month) = 1),
    closed_at timestamptz not null,
    closed_by text not null
);

create function ledger_period_is_open() returns trigger language plpgsql as $$
begin
    if exists (select from closed_periods where month = date_trunc('month', new.at at time zone 'UTC')::date) then
        raise exception '% is closed', to_char(new.at at time zone 'UTC', 'YYYY-MM')
            using errcode = 'restrict_violation', constraint = 'ledger_period_is_open';
    end if;
    return new;
end
$$;

create trigger ledger_transactions_in_open_periods before insert on ledger_transactions
    for each row execute function ledger_period_is_open();
