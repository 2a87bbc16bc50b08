"""The stub as a server: aiohttp around the core, the store, accounts, history and operations."""
