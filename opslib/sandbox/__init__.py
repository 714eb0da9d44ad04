"""The rehearsal platform: a Kubernetes API, kubelet, controllers and data services that break on command.

It is reached over sockets like the real platform: nothing here imports the rest of opslib, and nothing
of opslib but its command line imports this.
"""
