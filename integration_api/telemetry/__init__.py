"""Observers of calls: log lines."""
