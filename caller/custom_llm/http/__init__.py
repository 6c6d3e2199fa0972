"""HTTP to endpoints, and where it may lead. The only modules that import aiohttp."""
