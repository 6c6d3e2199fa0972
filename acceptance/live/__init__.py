"""The service against real chat servers on loopback: `make live` and `make live-litellm`.

Rule: it is a client. It installs and starts servers that others wrote, starts our service as a process of its own, and
speaks to it over gRPC only; what comes back is checked and printed. Nothing of it is part of the service.
"""
