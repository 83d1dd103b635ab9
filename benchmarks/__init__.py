"""What the receiver costs, against pgbench doing the same rows, other queues, and the code that most tutorials show.

Reading order: `callbacks` (what is sent), `load` and `pace` (who sends it), `programs` (what is measured, and its CPU),
`pgbench`, `tutorial`, `ingress` (callbacks taken); `queues` with `pgqueuer_peer` and `procrastinate_peer`, `drain`,
`dispatch` (handlers run), `latency`, `claims`; `verify` (every provider's signatures); `report` (tables and JSON). Run
with `make bench`, or `make bench ARGS="--only verify"`.
"""
