"""Makes a layer of entries, or finds the one that was made of the same inputs before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from trimtab.builder.abc import Layer, LayerName
from trimtab.builder.cache import Cache
from trimtab.builder.layers import tar
from trimtab.builder.layers.compress import MEDIA_TYPES, Compression, Compressor, identity

FORMAT = "2"
"""Raised whenever the same inputs would give another tar than before."""

Entries = dict[str, tar.Entry]


def find_or_make(
    name: LayerName, inputs: Sequence[object], cache: Cache, compression: Compression, entries: Callable[[], Entries]
) -> Layer:
    """Give the layer of `inputs`, which must be all that `entries` depends on; `entries` is called if there is none yet.

    Errors: BuildError for entries that cannot be in an image, StoreFull, StoreError.
    """
    key = msgspec.json.encode([FORMAT, name, identity(compression), *inputs]).decode()
    found = cache.record(key, Layer)
    if found is not None and (path := cache.path(found.digest)) is not None:
        return msgspec.structs.replace(found, path=path, cached=True)
    made = make(name, entries(), cache, compression)
    cache.keep(key, msgspec.structs.replace(made, path=None))
    return made


def make(name: LayerName, entries: Entries, cache: Cache, compression: Compression) -> Layer:
    """Write a layer into the cache. Errors: BuildError, StoreFull, StoreError."""
    with cache.writing() as file:
        compressor = Compressor(file, compression)
        try:
            tar.write(entries, compressor)
            digest, diff_id = compressor.finish()
        finally:
            compressor.close()
        path = cache.add(file, digest)
    return Layer(
        name=name,
        digest=digest,
        diff_id=diff_id,
        size=compressor.size,
        media_type=MEDIA_TYPES[compression],
        path=path,
    )
