"""What operators do, below the surface of the command line: look, check, replay, verify offline, send.

Reading order: `errors`, `database` (a connection for one question), `events` (lists and timelines), `replays`,
`accounts` (the configured sources), `doctor` and `dispatching` (is everything in order?); then `captured`, `verdict`,
`diagnosis` and `hints` (why does a signature fail?); then `composed` and `sender` (signed sample callbacks, sent).
"""
