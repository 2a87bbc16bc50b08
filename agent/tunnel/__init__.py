"""WireGuard: the wire of cloudlink, for both its ends.

Nothing here knows of agents or clouds.  ``endpoint`` is the protocol without sockets and clocks;
``udp`` gives it both; ``userspace`` and ``kernel`` hold a program's or the kernel's own.
"""
