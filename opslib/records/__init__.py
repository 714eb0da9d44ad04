"""The bottom of opslib: what a run writes down, how it is kept, shown and cleaned of secrets."""
