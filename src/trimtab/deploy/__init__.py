"""Targets: where functions run. `abc` is the port, `local` this machine."""
