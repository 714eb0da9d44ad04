"""A Kubernetes API server for the sandbox: the real protocol, an own implementation.

Start it with ``python -m opslib.sandbox.api --state DIR --speed N``; it writes DIR/kube/address.json when it is ready.
"""
