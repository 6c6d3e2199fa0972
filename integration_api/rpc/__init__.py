"""What stands around every RPC: the guard, statuses, streams, health, reflection."""
