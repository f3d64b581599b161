"""This machine as a target: a daemon, warm parents that fork replicas, and the broker."""
