"""A small Stripe, played on one machine: enough of its HTTP API to invoice customers, collect, and be told by webhooks.

The real `stripe` library talks to it over HTTP (`StripeClient(key, base_addresses={"api": url})`). Amounts are integer
cents of one currency, usd.

    form, refusals      what comes in (nested forms) and how it is refused (Stripe's error bodies)
    store, mailbox      every object as a row of JSON in a SQLite file; deadlines; deliveries
    world, clock        the store under one clock and one lock; events; what falls due
    desk, receipts      one request to one answer: key, faults, idempotency
    calls, listing, rendering   what a resource is asked; cursor lists; expansion
    cards               the test cards, and what each does
    customers, payment_methods, invoice_items, invoices, credit_notes, payment_intents, charges, refunds, disputes,
    balance_transactions, events, test_clocks
                        one resource a file: its fields, what can be done to it, its routes at the end
    charging            one try to take money from a card: charge, fee, balance transaction
    drafting, finalizing, collecting, settling
                        an invoice's life: lines and totals, number and balance, attempts, paid or void
    courier             webhooks: signed, and again with backoff
    server, control_api, page   the HTTP server; what no real Stripe has; the page where a customer pays
    faults              what goes wrong on demand

Invariants: an answer is given only after what it tells is committed; balance transactions are what moved and nothing
else; an invoice that is open or later never changes its lines or its total.
"""
