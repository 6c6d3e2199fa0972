"""The subcommands of `integration-api`, one module each with its click command under the name `command`.

Exit codes: 0 good, 1 it failed, 2 it was asked wrongly (usage or settings).
"""
