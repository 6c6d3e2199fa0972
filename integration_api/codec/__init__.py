"""Protobuf to domain and back: pure functions, no gRPC, no I/O."""
