"""The gRPC edge of integration-api: the only package that imports grpc or protobuf."""
