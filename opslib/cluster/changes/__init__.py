"""Writes to the cluster: each function here returns a Change and touches nothing."""
