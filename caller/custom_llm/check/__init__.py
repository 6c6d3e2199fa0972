"""The check of an endpoint: one engine for `VerifyCredential` and the command `check`. Small requests, no retries."""
