"""Several processes that serve one port: a supervisor, which serves nothing itself, and its workers."""
