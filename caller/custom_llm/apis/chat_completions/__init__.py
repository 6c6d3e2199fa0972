"""Chat Completions: OpenAI's own, and the servers that speak it in their own ways. No I/O."""
