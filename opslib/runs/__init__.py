"""One execution of a runbook: reads, checks, decisions, changes, gates, the outcome."""
