"""Anthropic's Messages API. No I/O."""
