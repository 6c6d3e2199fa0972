"""The service behind real proxies; see `__main__`."""
