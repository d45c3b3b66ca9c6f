"""Folders of the compile cache: where they are, which are trusted, what of ours lies in them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys

KEPT_FOLDERS = 6  # fingerprints kept: a few environments and branches side by side
FOLDER_NAME = re.compile(r"code-[0-9a-f]{32}")
FILE_NAME = re.compile(r"[\w.-]+\.(nbc|tmp)")


def folder_name(fingerprint: str) -> str:
    """The name of the folder of code with this fingerprint."""
    return f"code-{fingerprint[:32]}"


def write_whole(path: str, content: bytes) -> None:
    """Write a file so that no reader sees half of it, and no rest is left on failure."""
    temporary = f"{path[: -len('.nbc')]}-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def absolute(path: str) -> str | None:
    """Return the full path, or None where it cannot be told."""
    try:
        return os.path.abspath(path)
    except OSError:  # relative to a working directory that was removed
        return None


def user_cache_folder() -> str | None:
    """Return where this system keeps a user's caches, or None without a home."""
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or None
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named) and sys.platform != "darwin":  # the standard: ignore a relative one
        return named
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return None
    return os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")


def why_untrusted(folder: str) -> str | None:
    """Say why code from a folder must not be run, or None: what lies there is code."""
    if os.name != "posix":
        return None
    try:
        status = os.stat(folder)
    except OSError as error:
        return f"{folder} cannot be read: {error}"
    if status.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if status.st_mode & 0o022:
        return f"{folder} is writable by others"
    return None


def our_folders(root: str) -> list[str]:
    """List the fingerprint folders, most recently used first."""
    found = []
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for item in entries:
            if FOLDER_NAME.fullmatch(item.name) and item.is_dir(follow_symlinks=False):
                found.append((item.stat(follow_symlinks=False).st_mtime_ns, item.path))
    return [path for _, path in sorted(found, reverse=True)]


def our_files(folder: str) -> dict[str, int]:
    """Return the sizes of our files in a folder, by path."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(folder) as items:
        for item in items:
            if FILE_NAME.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                found[item.path] = item.stat(follow_symlinks=False).st_size
    return found


def remove_folder(folder: str) -> int:
    """Remove our files and then the folder, unless something else lies in it."""
    removed = 0
    for file in our_files(folder):
        with contextlib.suppress(OSError):
            os.unlink(file)
            removed += 1
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    return removed


def remove_old_folders(root: str, keep: str) -> None:
    """Remove fingerprints that no one used lately: old versions, old sources."""
    others = [folder for folder in our_folders(root) if folder != keep]
    for folder in others[KEPT_FOLDERS - 1 :]:
        remove_folder(folder)
