"""The gRPC edge of integration-api: the only package that imports grpc or protobuf."""

__version__ = "0.1.0"
