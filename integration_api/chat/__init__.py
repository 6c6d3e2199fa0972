"""The native face: integration_api.v1.ChatService."""
