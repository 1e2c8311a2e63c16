-- Invoices of a month, what they were made of, and what corrects them. Amounts are cents, where they don't say micros.

create table tax_rates (
    id bigint generated always as identity primary key,
    country text not null check (country ~ '^[A-Z]{2}$'),
    -- Null: the whole country.
    region text check (length(region) between 1 and 60),
    name text not null check (length(name) between 1 and 40),
    percent numeric(7, 4) not null check (percent between 0 and 100),
    -- Until the next one of the same place.
    effective_from date not null,
    created_at timestamptz not null,
    created_by text not null,
    constraint tax_rates_once unique nulls not distinct (country, region, effective_from)
);

create trigger tax_rates_append_only before update or delete or truncate on tax_rates
    for each statement execute function refuse_change();

-- The last number given in a series and a year; taken in the transaction that uses it, so that none is left out.
create table document_numbers (
    series text not null check (series in ('INV', 'CN')),
    year integer not null,
    last integer not null check (last > 0),
    primary key (series, year)
);

create table invoices (
    id text primary key,
    number text unique,
    organisation_id text not null references organisations,
    month date not null check (extract(day from month) = 1),
    state text not null default 'draft' check (state in ('draft', 'open', 'paid', 'void', 'uncollectible')),
    -- Whom it goes to, as it was known when it was opened.
    bill_to jsonb not null default '{}',
    tax_name text,
    tax_percent numeric(7, 4),

    subtotal_micros bigint not null default 0,
    subtotal bigint not null default 0,
    tax bigint not null default 0,
    to_wallet bigint not null default 0 check (to_wallet >= 0),
    carried_in bigint not null default 0 check (carried_in >= 0),
    total bigint not null default 0 check (total >= 0),
    -- Credit that was drawn for usage, as it was rated, and pays for this.
    credit_applied_micros bigint not null default 0 check (credit_applied_micros >= 0),
    from_credit bigint not null default 0 check (from_credit >= 0),
    carried_out bigint not null default 0 check (carried_out >= 0),
    due bigint not null default 0 check (due >= 0),
    -- Of what is due: by money, and by credit notes.
    paid bigint not null default 0,
    credited bigint not null default 0 check (credited >= 0),

    built_at timestamptz not null,
    opened_at timestamptz,
    due_at timestamptz,
    paid_at timestamptz,
    ended_at timestamptz,
    stripe_invoice_id text unique,
    -- The invoice that has what was carried out of this one.
    carried_into text references invoices,

    constraint invoices_total_adds_up check (total = subtotal + tax + to_wallet + carried_in),
    constraint invoices_due_adds_up check (due = total - from_credit - carried_out),
    constraint invoices_not_overpaid check (paid >= 0 and paid + credited <= due),
    constraint invoices_numbered_once_open check ((state = 'draft') = (number is null)),
    constraint invoices_open_has_time check (
        (state = 'draft') = (opened_at is null) and (opened_at is null) = (due_at is null)),
    constraint invoices_paid_has_time check ((state = 'paid') = (paid_at is not null)),
    constraint invoices_ended_has_time check ((state in ('void', 'uncollectible')) = (ended_at is not null)),
    constraint invoices_paid_owes_nothing check (state <> 'paid' or paid + credited = due)
);

-- One for a month; a void one leaves the place to another.
create unique index invoices_one_a_month on invoices (organisation_id, month) where state <> 'void';
create index invoices_month on invoices (month);
create index invoices_of_organisation on invoices (organisation_id, id desc);
create index invoices_carried on invoices (organisation_id) where carried_out > 0 and carried_into is null;
create index invoices_owed on invoices (organisation_id) where state = 'open';

create table invoice_moves (from_state text, to_state text, primary key (from_state, to_state));
insert into invoice_moves values
    ('draft', 'open'), ('open', 'paid'), ('open', 'void'), ('open', 'uncollectible'), ('uncollectible', 'paid'),
    ('paid', 'open');

create trigger invoices_legal_move before update of state on invoices
    for each row when (old.state is distinct from new.state) execute function check_move('invoice_moves');

-- Once it is open only what happens to it is noted: what it says stays.
create function invoice_says_what_it_said() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        if old.state <> 'draft' then
            raise exception 'invoice % is no draft: it stays', old.number using errcode = 'restrict_violation';
        end if;
        return old;
    end if;
    if old.state <> 'draft' and
       to_jsonb(new) - '{state,paid,credited,paid_at,ended_at,stripe_invoice_id,carried_into}'::text[] <>
       to_jsonb(old) - '{state,paid,credited,paid_at,ended_at,stripe_invoice_id,carried_into}'::text[] then
        raise exception 'invoice % is open: a correction is a credit note', old.number
            using errcode = 'restrict_violation', constraint = 'invoices_open_never_change';
    end if;
    return new;
end
$$;

create trigger invoices_open_never_change before update or delete on invoices
    for each row execute function invoice_says_what_it_said();
create trigger invoices_stay before truncate on invoices for each statement execute function refuse_change();

create table invoice_lines (
    invoice_id text not null references invoices on delete cascade,
    position integer not null check (position > 0),
    kind text not null check (
        kind in ('usage', 'credit', 'already_credited', 'coupon', 'commitment', 'tax', 'to_wallet', 'carried_in')),
    description text not null,
    micros bigint not null,
    cents bigint not null,
    -- Of usage and credits: what the line is made of. A commitment has a month where it is of an earlier one.
    usage_month date,
    job_id text,
    tier text,
    gpu_type text,
    gpu_seconds numeric(20, 6),
    -- Dollars per GPU-hour, as it comes out over the line.
    unit_price numeric(20, 6),
    -- Of coupons and taxes.
    percent numeric(7, 4),
    coupon_id text references coupons,
    primary key (invoice_id, position),
    constraint invoice_lines_of_a_job_say_what_for check (
        (kind in ('usage', 'credit', 'already_credited')) = (usage_month is not null and job_id is not null
            and tier is not null and gpu_type is not null and gpu_seconds is not null)),
    constraint invoice_lines_point_one_way check (
        (kind <> 'coupon' or micros <= 0)
        and (kind not in ('already_credited', 'to_wallet', 'carried_in') or micros > 0)
        and (kind <> 'commitment' or (micros > 0) = (usage_month is null)))
);

create index invoice_lines_coupon on invoice_lines (coupon_id) where coupon_id is not null;

-- Which rated lines an invoice is made of: each is on one at most.
create table invoiced_lines (
    -- Of `rated_lines`, which never go; that it is there, a trigger below sees to.
    rated_line_id bigint primary key,
    invoice_id text not null references invoices
);

create index invoiced_lines_invoice on invoiced_lines (invoice_id);

-- A statement may touch a hundred thousand lines: they are looked at together.
create function lines_of_drafts_only() returns trigger language plpgsql as $$
begin
    if exists (select from invoices i where i.state <> 'draft' and i.id in (select invoice_id from touched)) then
        raise exception 'an invoice that is open keeps its lines: a correction is a credit note'
            using errcode = 'restrict_violation', constraint = 'invoice_lines_open_never_change';
    end if;
    return null;
end
$$;

create trigger invoice_lines_only_to_drafts after insert on invoice_lines
    referencing new table as touched for each statement execute function lines_of_drafts_only();
create trigger invoice_lines_only_from_drafts after delete on invoice_lines
    referencing old table as touched for each statement execute function lines_of_drafts_only();
create trigger invoice_lines_stay before update or truncate on invoice_lines
    for each statement execute function refuse_change();
create trigger invoiced_lines_only_to_drafts after insert on invoiced_lines
    referencing new table as touched for each statement execute function lines_of_drafts_only();
create function invoiced_lines_are_rated() returns trigger language plpgsql as $$
begin
    if exists (select from touched t where not exists (select from rated_lines r where r.id = t.rated_line_id)) then
        raise exception 'there is no such rated line'
            using errcode = 'foreign_key_violation', constraint = 'invoiced_lines_are_rated';
    end if;
    return null;
end
$$;

create trigger invoiced_lines_are_rated after insert on invoiced_lines
    referencing new table as touched for each statement execute function invoiced_lines_are_rated();
create trigger invoiced_lines_stay before update or truncate on invoiced_lines
    for each statement execute function refuse_change();

-- What was on a void invoice is free for another.
create function invoiced_lines_are_freed() returns trigger language plpgsql as $$
begin
    if exists (select from invoices i where i.state not in ('draft', 'void')
               and i.id in (select invoice_id from touched)) then
        raise exception 'an invoice that is open keeps its lines: a correction is a credit note'
            using errcode = 'restrict_violation', constraint = 'invoice_lines_open_never_change';
    end if;
    return null;
end
$$;

create trigger invoiced_lines_only_freed after delete on invoiced_lines
    referencing old table as touched for each statement execute function invoiced_lines_are_freed();

-- On which month's invoice usage of a month goes: its own; where that is open already, or its books are closed, the next
-- one that can still take it.
create function month_to_bill(organisation text, used date) returns date language sql stable as $$
    with recursive months (month) as (
        select used
        union all
        select (m.month + interval '1 month')::date from months m
        where exists (select from closed_periods c where c.month = m.month)
           or exists (select from invoices i where i.organisation_id = organisation and i.month = m.month
                      and i.state not in ('draft', 'void')))
    select max(month) from months
$$;

-- Money that came for an invoice, or was taken back (negative); once a source.
create table invoice_payments (
    source text primary key check (length(source) between 1 and 150),
    invoice_id text not null references invoices,
    cents bigint not null check (cents <> 0),
    at timestamptz not null
);

create index invoice_payments_invoice on invoice_payments (invoice_id);
create trigger invoice_payments_append_only before update or delete or truncate on invoice_payments
    for each statement execute function refuse_change();

create table credit_notes (
    id text primary key,
    number text not null unique,
    invoice_id text not null references invoices,
    reason text not null check (length(reason) between 1 and 500),
    -- What is given back: above zero.
    subtotal bigint not null check (subtotal >= 0),
    tax bigint not null check (tax >= 0),
    total bigint not null check (total > 0 and total = subtotal + tax),
    -- Where it went: off what is still to be paid, the rest to the wallet.
    off_due bigint not null check (off_due >= 0),
    to_wallet bigint not null check (to_wallet >= 0),
    idempotency_key text,
    request_hash bytea,
    created_at timestamptz not null,
    created_by text not null,
    constraint credit_notes_go_somewhere check (total = off_due + to_wallet),
    constraint credit_notes_idempotency_key unique (invoice_id, idempotency_key)
);

-- A line as it was, as it should have been, and the difference.
create table credit_note_lines (
    credit_note_id text not null references credit_notes,
    invoice_id text not null,
    position integer not null,
    description text not null,
    seconds_before numeric(20, 6),
    seconds_after numeric(20, 6),
    cents_before bigint not null,
    cents_after bigint not null,
    difference bigint not null check (difference = cents_after - cents_before and difference <> 0),
    primary key (credit_note_id, position),
    foreign key (invoice_id, position) references invoice_lines
);

create index credit_notes_created on credit_notes (created_at);
create index credit_note_lines_invoice on credit_note_lines (invoice_id, position);
create trigger credit_notes_append_only before update or delete or truncate on credit_notes
    for each statement execute function refuse_change();
create trigger credit_note_lines_append_only before update or delete or truncate on credit_note_lines
    for each statement execute function refuse_change();
