"""Where an artifact store keeps its bytes: one port, a local folder, and whatever fsspec reaches."""

from trimtab.artifacts.files.abc import File, Files, Missing

__all__ = ["File", "Files", "Missing", "open_files"]


def open_files(url: str, mode: int = 0o777) -> Files:
    """Open a place by its URL: `file://` and plain paths with nothing installed, any other by fsspec.

    `mode` is that of folders that are made on this machine. Errors: SpecError for a URL that nothing here can open.
    """
    from trimtab.artifacts.files.local import LocalFiles, folder_of

    folder = folder_of(url)
    if folder is not None:
        return LocalFiles(folder, mode)
    from trimtab.artifacts.files.remote import RemoteFiles

    return RemoteFiles(url)
