"""The caller of the provider `custom-llm`: any endpoint that speaks one of the five API shapes, over aiohttp."""
