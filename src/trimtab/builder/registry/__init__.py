"""Everything that talks to a registry: references, credentials, and the client over `oras`."""

from trimtab.builder.registry.reference import Reference, parse
from trimtab.errors import BuildError

try:
    from trimtab.builder.registry.client import Client
except ModuleNotFoundError as exc:
    raise BuildError(
        f"building images needs {(exc.name or '').partition('.')[0]}: pip install 'trimtab[build]'"
    ) from exc

__all__ = ["Client", "Reference", "parse"]
