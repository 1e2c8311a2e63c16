"""Scalar: customers' GPU container jobs on capacity bought on a market, with the margin of every job.

This package is the business: values, rules, SQL. It imports no web framework, orchestrator or container engine. The
doors (`scalar_api`, `scalar_orchestration`) import it and never each other; `node_agent` imports `scalar.protocol`.

One package a concept:

- `accounts`: organisations, users, API keys, roles, the audit log
- `jobs`: what a customer asked for, its life, its runs
- `capacity`: nodes, GPUs, assignments, the scheduling pass
- `market`: quotes, orders, blocks, the machines on them, prices; do both sides' books agree
- `planning`: what to buy, keep on, sell or let go
- `metering`: usage events and hourly usage
- `billing`: rate cards, rated usage, the ledger, wallets, invoices, payments, cost and margin
- `webhooks`: what customers are told of their jobs and invoices
"""
