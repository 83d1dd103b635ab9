"""The command line: data on stdout, all else on stderr, exit codes that mean something, no prompt.

Reading order: `main` (all commands, and where errors become one line and an exit code), `exits`, `options`, `output`,
`servers` (where Postgres and Redis come from), `commands/` (one file for each group of commands), `demo/` (the demo
and its shop). What a command needs beyond typer is imported when it runs: `receiver --help` must not wait for it.
"""
