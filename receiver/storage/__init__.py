"""Postgres: the engine, the tables and every SQL statement.

Reading order: `states` (of a dispatch), `tables`, `engine`, `identity` (which Postgres is this?), then the statements
in the order of a callback's life: `arrivals` (key, event, dispatch rows), `quarantine`, `own` (a worker's connections),
`leases` and `claims`, `sessions`, `raw` and `loans` (what handlers are lent), `emits` (what they hand on), `outcomes`,
`together` (those of a batch), `wire`, `ahead` and `chain` (several in one round trip), `connection` (of a slot),
`runs` and `batches` on it, `trials` (a run in a test), `newer` (what handlers write states with); `selections`,
`replays`, `steps` and `stepping` (running many dispatches again); then `views`, `workers`, `audit` and `health` for
operators; `partitions` and `migrate` for the schema's own life.
"""
