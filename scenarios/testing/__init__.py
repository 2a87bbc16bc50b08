"""fieldbeat in a person's own tests: a pytest plugin, a fleet in simulated time, a stub to talk to.

``pytest`` finds the plugin by its entry point; scenarios become tests, and the fixtures are
``fieldbeat_run``, ``virtual_fleet``, ``stub_cloud`` and ``stub_device``.
"""
