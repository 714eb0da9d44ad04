"""What the containers of the sandbox do, and the traffic that reaches them."""

from opslib.sandbox.workloads.history import healthy_history

__all__ = ["healthy_history"]
