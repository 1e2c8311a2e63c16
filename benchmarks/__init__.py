"""`make bench`: the figures of docs/performance.md. Each is taken in one run with what it is compared with."""
