"""What opslib costs, measured against the tools it is built on. `make bench` runs it."""
