"""The gRPC services: thin faces over the callers. Codec in, caller, codec out."""
