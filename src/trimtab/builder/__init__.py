"""From a source and its requirements to a container image: no daemon, no Dockerfile, the same digest every time."""
