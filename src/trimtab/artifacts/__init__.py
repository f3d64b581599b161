"""Models, datasets and files as immutable versions with hashes, under one URL; `store://` names them."""

from trimtab.artifacts.artifact import Artifact
from trimtab.artifacts.dataitem import DataItem, get_dataitem
from trimtab.artifacts.environment import VersionWarning
from trimtab.artifacts.log import LogsArtifacts
from trimtab.artifacts.models import load_model
from trimtab.artifacts.store import ArtifactStore, open_store
from trimtab.artifacts.types import DatasetSpec, Environment, FileSpec, ModelSpec, Producer
from trimtab.artifacts.uri import StoreURI, is_store_uri

__all__ = [
    "Artifact",
    "ArtifactStore",
    "DataItem",
    "DatasetSpec",
    "Environment",
    "FileSpec",
    "LogsArtifacts",
    "ModelSpec",
    "Producer",
    "StoreURI",
    "VersionWarning",
    "get_dataitem",
    "is_store_uri",
    "load_model",
    "open_store",
]
