-- What Stripe is asked to do, what it told us, and the money that moved there. Amounts are cents.

-- Customers at Stripe: what is about to be told of whom, written down before it is told.
create table stripe_customers (
    organisation_id text primary key references organisations,
    -- Part of the idempotency keys: each thing that is told anew has a number of its own.
    version integer not null default 1 check (version > 0),
    intended_at timestamptz not null,
    tries integer not null default 0,
    not_before timestamptz not null default '-infinity',
    -- What Stripe was told last.
    told jsonb,
    problem text,
    -- A card that they are about to be charged by, until Stripe has said yes or no; and its number.
    card text,
    card_version integer not null default 0
);

-- Each of our invoices that Stripe collects, and how far it has got there.
create table stripe_invoices (
    invoice_id text primary key references invoices,
    state text not null default 'intended' check (
        state in ('intended', 'draft', 'open', 'paid', 'void', 'uncollectible', 'dropped')),
    stripe_id text unique,
    hosted_url text,
    intended_at timestamptz not null,
    -- Part of the idempotency keys: Stripe repeats an answer of its own failure for as long as it knows the key.
    version integer not null default 1 check (version > 0),
    tries integer not null default 0,
    -- Nobody takes it up before: a lease, or a pause after a problem.
    not_before timestamptz not null default '-infinity',
    -- When it is looked at again, whether or not something was told of it.
    look_at timestamptz,
    problem text,
    constraint stripe_invoices_named check (state in ('intended', 'dropped') or stripe_id is not null)
);

create index stripe_invoices_at_work on stripe_invoices (not_before) where state in ('intended', 'draft');
create index stripe_invoices_to_look_at on stripe_invoices (look_at) where look_at is not null;

-- Our credit notes, as Stripe has them.
create table stripe_credit_notes (
    credit_note_id text primary key references credit_notes,
    invoice_id text not null references stripe_invoices,
    -- Null: Stripe has no use for it.
    stripe_id text unique,
    told_at timestamptz not null
);

-- Tries to collect an invoice from a card; each is written down before it is made.
create table payment_attempts (
    id text primary key,
    invoice_id text not null references stripe_invoices,
    number integer not null check (number > 0),
    state text not null default 'intended' check (state in ('intended', 'paid', 'declined', 'refused', 'withdrawn')),
    cents bigint not null check (cents > 0),
    version integer not null default 1 check (version > 0),
    made_at timestamptz not null,
    not_before timestamptz not null,
    ended_at timestamptz,
    decline_code text,
    message text,
    constraint payment_attempts_numbered unique (invoice_id, number),
    constraint payment_attempts_ended_has_time check ((state = 'intended') = (ended_at is null))
);

create unique index payment_attempts_one_at_a_time on payment_attempts (invoice_id) where state = 'intended';

-- Invoices of which a try has failed: when the next one is, or how it ended.
create table dunning (
    invoice_id text primary key references stripe_invoices,
    began_at timestamptz not null,
    failures integer not null check (failures > 0),
    next_attempt_at timestamptz,
    ended_at timestamptz,
    outcome text check (outcome in ('paid', 'uncollectible', 'left_open', 'stopped')),
    constraint dunning_ends_somehow check ((ended_at is null) = (outcome is null)),
    constraint dunning_goes_on_or_ends check ((ended_at is null) = (next_attempt_at is not null))
);

create index dunning_due on dunning (next_attempt_at) where ended_at is null;

-- Overdue invoices that nobody is charged for by themselves: when their customers were told.
create table overdue_notices (
    invoice_id text not null references invoices,
    number integer not null check (number > 0),
    told_at timestamptz not null,
    primary key (invoice_id, number)
);

-- Wallets topped up by card.
create table top_ups (
    id text primary key,
    organisation_id text not null references organisations,
    cents bigint not null check (cents >= 50),
    state text not null default 'intended' check (state in ('intended', 'pending', 'paid', 'failed')),
    stripe_id text unique,
    version integer not null default 1 check (version > 0),
    tries integer not null default 0,
    not_before timestamptz not null default '-infinity',
    idempotency_key text,
    created_at timestamptz not null,
    created_by text not null,
    ended_at timestamptz,
    message text,
    constraint top_ups_idempotency_key unique (organisation_id, idempotency_key),
    constraint top_ups_ended_has_time check ((state in ('paid', 'failed')) = (ended_at is not null))
);

create index top_ups_under_way on top_ups (not_before) where state in ('intended', 'pending');

-- Charges that went well.
create table payments (
    id text primary key,
    organisation_id text not null references organisations,
    invoice_id text references invoices,
    top_up_id text references top_ups,
    stripe_charge_id text not null unique,
    stripe_intent_id text,
    cents bigint not null check (cents > 0),
    paid_at timestamptz not null,
    constraint payments_are_for_something check ((invoice_id is null) <> (top_up_id is null))
);

create index payments_invoice on payments (invoice_id);
create index payments_organisation on payments (organisation_id, id desc);

-- Money back to a card, by us: the credit that it is paid from is taken in the transaction that writes it down.
create table refunds (
    id text primary key,
    invoice_id text not null references invoices,
    organisation_id text not null references organisations,
    payment_id text not null references payments,
    cents bigint not null check (cents > 0),
    reason text not null check (length(reason) between 1 and 500),
    state text not null default 'intended' check (state in ('intended', 'pending', 'done', 'failed')),
    stripe_refund_id text unique,
    version integer not null default 1 check (version > 0),
    tries integer not null default 0,
    not_before timestamptz not null default '-infinity',
    idempotency_key text,
    request_hash bytea,
    created_at timestamptz not null,
    created_by text not null,
    ended_at timestamptz,
    message text,
    constraint refunds_idempotency_key unique (invoice_id, idempotency_key),
    constraint refunds_ended_has_time check ((state in ('done', 'failed')) = (ended_at is not null))
);

create index refunds_under_way on refunds (not_before) where state in ('intended', 'pending');
create index refunds_invoice on refunds (invoice_id);

create table disputes (
    stripe_id text primary key,
    payment_id text not null references payments,
    status text not null,
    reason text not null,
    cents bigint not null,
    opened_at timestamptz not null,
    closed_at timestamptz
);

create index disputes_payment on disputes (payment_id);

-- Each movement of a payment's money on Stripe's balance, and what it was for: one posting of the ledger.
create table payment_movements (
    -- Of Stripe's balance transaction.
    stripe_id text primary key,
    payment_id text not null references payments,
    kind text not null check (kind in ('charge', 'refund', 'dispute')),
    -- The charge, refund or dispute.
    stripe_source text not null,
    -- To us, or from us: below zero.
    cents bigint not null check (cents <> 0),
    fee bigint not null,
    to_invoice bigint not null,
    to_wallet bigint not null,
    to_refund bigint not null,
    to_bad_debt bigint not null,
    at timestamptz not null,
    constraint payment_movements_go_somewhere check (cents = to_invoice + to_wallet + to_refund + to_bad_debt)
);

create index payment_movements_payment on payment_movements (payment_id);
create trigger payment_movements_append_only before update or delete or truncate on payment_movements
    for each statement execute function refuse_change();

-- What Stripe told us happened, each once. What it says is not kept: what it is about is fetched when it is handled.
create table stripe_events (
    id text primary key,
    type text not null,
    object_type text not null,
    object_id text,
    created_at timestamptz not null,
    received_at timestamptz not null,
    tries integer not null default 0,
    not_before timestamptz not null default '-infinity',
    handled_at timestamptz,
    outcome text
);

create index stripe_events_to_handle on stripe_events (created_at) where handled_at is null;

-- Stripe's own statement of its balance.
create table stripe_balance_transactions (
    id text primary key,
    type text not null,
    category text not null,
    source text,
    cents bigint not null,
    fee bigint not null,
    net bigint not null,
    created_at timestamptz not null,
    constraint stripe_balance_transactions_add_up check (net = cents - fee)
);

create index stripe_balance_transactions_created on stripe_balance_transactions (created_at);
create trigger stripe_balance_transactions_append_only before update or delete or truncate
    on stripe_balance_transactions for each statement execute function refuse_change();

-- When the statement was read to its end, and until when it was complete then.
create table stripe_statement_reads (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    lines integer not null
);
