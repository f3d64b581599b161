"""Where an image goes: a registry, an OCI layout, an archive, or a container engine on this machine."""
