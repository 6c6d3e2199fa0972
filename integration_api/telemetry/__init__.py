"""Observers of calls: log lines and metrics; and what reads the state of the process for them."""
