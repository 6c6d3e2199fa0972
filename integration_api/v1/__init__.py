"""Generated from `protos/integration_api/v1` by `make proto`."""
