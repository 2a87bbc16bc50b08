"""The virtual world: boards, links, tunnels and the cloud on one agenda of simulated time.

``agenda`` orders everything, ``links`` says what a packet meets on its way, ``exchanges`` carries
HTTP over a link, ``tunnels`` carries cloudlink, ``cloudside`` is the cloud with its faults,
``machines`` is a device with its supervisor, and ``steps`` turns a scenario's verbs into calls.
No clock, no I/O, no global randomness anywhere below.
"""
