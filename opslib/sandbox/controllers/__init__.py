"""The control loops of a Kubernetes cluster, each a client of the API: one file a controller."""
