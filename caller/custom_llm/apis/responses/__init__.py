"""OpenAI's Responses API. No I/O."""
