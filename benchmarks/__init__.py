"""What the receiver costs, measured against pgbench doing the same rows and the code that most tutorials show.

Reading order: `callbacks` (what is sent), `load` (who sends it), `programs` (what is measured, and its CPU), `pgbench`,
`tutorial`, `ingress` and `dispatch` (the measurements), `report` (table and JSON). Run with `make bench`.
"""
