"""Outbound webhooks: what happens to an organisation's jobs and invoices, told to the URLs that it has registered.

    jobs (a trigger) ─┐
    publish() ────────┴─► webhook_events ─► webhook_deliveries ─► sending ─► delivered | failed
                          the outbox: one transaction               ▲  │
                                                                    └──┘ again, for a day

Owns: `webhook_endpoints`, `webhook_secrets`, `webhook_events`, `webhook_deliveries`. Doesn't own: what happens to a job
or an invoice, nor when; it tells of it.

Invariants:
- An event is written in the transaction in which the thing happens: neither is there without the other.
- It is delivered at least once to every endpoint that was enabled and wanted it then, or tried for a day. It carries
  the same `webhook-id` each time. The order of events is not promised.
- Two deliverers never send the same delivery at one time: a try ends well within its lease.
- Nothing is sent to an address that is not public, whatever a name led to when it was looked up before, unless the
  settings allow it.
- Nobody sees, pings or replays what is another organisation's.
"""
