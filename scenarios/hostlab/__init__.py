"""The host lab: a scenario with real processes, sockets and packets, in network namespaces.

Each device is a ``fieldbeat agent`` in a namespace of its own, behind a site router in another, in
front of the cloud's namespace with a ``fieldbeat cloud``.  Everything carries the name of the run,
so that what a killed run left behind can be told from everything else and removed.
"""
