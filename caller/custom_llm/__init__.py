"""The caller of the provider `custom-llm`: any endpoint that speaks one of the API shapes, over aiohttp."""
