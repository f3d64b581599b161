"""What `fn.apply(...)` takes: changes to a function, made now and applied to any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trimtab.errors import SpecError
from trimtab.spec import Volume, VolumeSource

if TYPE_CHECKING:
    from trimtab.project.description import Description

Modifier = Callable[["Description"], Any]


def mount_pvc(
    pvc_name: str, volume_name: str = "pipeline", volume_mount_path: str = "/mnt/pipeline", *, read_only: bool = False
) -> Modifier:
    """Mount a PersistentVolumeClaim."""
    source = VolumeSource(persistent_volume_claim=pvc_name)
    return _mount(Volume(name=volume_name, mount_path=volume_mount_path, source=source, read_only=read_only))


def mount_secret(secret_name: str, mount_path: str, volume_name: str = "secret") -> Modifier:
    """Mount a Secret, each key a file; read-only, as Kubernetes has it."""
    return _mount(
        Volume(name=volume_name, mount_path=mount_path, source=VolumeSource(secret=secret_name), read_only=True)
    )


def mount_configmap(configmap_name: str, mount_path: str, volume_name: str = "configmap") -> Modifier:
    """Mount a ConfigMap, each key a file; read-only, as Kubernetes has it."""
    return _mount(
        Volume(name=volume_name, mount_path=mount_path, source=VolumeSource(config_map=configmap_name), read_only=True)
    )


def mount_hostpath(
    host_path: str, mount_path: str, volume_name: str = "hostpath", *, read_only: bool = False
) -> Modifier:
    """Mount a folder of the machine that the replica runs on."""
    source = VolumeSource(host_path=host_path)
    return _mount(Volume(name=volume_name, mount_path=mount_path, source=source, read_only=read_only))


def set_env_variables(env_vars_dict: Mapping[str, str] | None = None, **variables: str) -> Modifier:
    """Set environment variables. Errors: SpecError for a name that is given twice."""
    for name in variables:
        if name in (env_vars_dict or {}):
            raise SpecError(f"set_env_variables: {name}", variables[name], "each name once")

    def modify(function: Description) -> Description:
        return function.set_envs({**(env_vars_dict or {}), **variables})

    return modify


def _mount(volume: Volume) -> Modifier:
    def modify(function: Description) -> Description:
        spec = function.function.spec
        spec.volumes = [*(each for each in spec.volumes if each.name != volume.name), volume]
        return function

    return modify
