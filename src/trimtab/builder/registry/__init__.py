"""Everything that talks to a registry: references, credentials, and the client over `oras`."""

from trimtab.builder.registry.client import Client
from trimtab.builder.registry.reference import Reference, parse

__all__ = ["Client", "Reference", "parse"]
