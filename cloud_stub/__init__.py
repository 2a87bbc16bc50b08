"""The cloud: device API, heartbeat tracker, VPN service and status rules, as pure state machines.

Nothing here reads a clock, a file, a socket or global randomness.  A driver (the virtual world of
``scenarios``, later an HTTP server) feeds ``messages`` with the time, carries out the effects, and
sends ``TimerFired`` when ``next_deadline_ms()`` is reached.
"""
