"""The domain: chat calls, whatever the provider. Knows neither gRPC nor protobuf."""
