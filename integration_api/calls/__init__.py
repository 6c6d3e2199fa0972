"""The life of a call, one for both faces. Knows neither gRPC nor protobuf."""
