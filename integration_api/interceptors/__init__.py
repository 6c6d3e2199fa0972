"""What stands around every call: errors become statuses here, once, and nowhere else."""
