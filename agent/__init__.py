"""The device: a simulated balena supervisor and its cloudlink client, as pure state machines.

Nothing here reads a clock, a file, a socket or global randomness.  A driver (the virtual world of
``scenarios``, later an asyncio program on a board) feeds ``events`` with the time, carries out the
``effects`` that come back, and calls again when ``next_deadline_ms()`` is reached.
"""
