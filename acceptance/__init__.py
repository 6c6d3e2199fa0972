"""Programs that judge a running service: chaos, drain, fuzz, interop, live."""
