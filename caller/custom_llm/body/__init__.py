"""Bytes to events: what kind of body it is, server-sent events, encodings, think tags. No I/O."""
