"""Logs, metrics, and the failpoints of the crash tests."""
