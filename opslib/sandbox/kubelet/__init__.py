"""The kubelet stand-in: pods live here, with probes, back-off, logs and exec."""
