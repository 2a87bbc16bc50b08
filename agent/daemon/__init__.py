"""The agent as a program on a device: drives the pure supervisor of ``agent`` with real I/O."""
