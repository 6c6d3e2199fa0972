"""`python -m integration_api` is the command `integration-api`."""

from integration_api.cli import main

main(prog_name="integration-api")
