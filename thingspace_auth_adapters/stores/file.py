"""A store in the file system, for the processes of one user on one machine."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InsecureStoreError
from .store import LOCK_PATIENCE_SECONDS, StoreUnavailable, TokenStore

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_HAS_OWNERS = hasattr(os, "geteuid")


class FileTokenStore(TokenStore):
    """Shares one access token and one M2M session through files that only this user can read.

    Args:
        path (str | os.PathLike | None): the directory, by default one in the user's cache
            directory. It is made where it is missing, for this user alone.

    Raises:
        ImportError: the extra ``[files]`` is not installed.
        TypeError, ValueError: ``path`` is no path.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        _demand_extra()
        self._path = None if path is None else Path(path)
        if "\0" in str(self._path):
            raise ValueError("path must not hold a null character")

    @property
    def path(self) -> Path:
        """The directory."""
        return _default_path() if self._path is None else self._path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def read(self, name: str) -> bytes | None:
        path = self._entry(name)
        with self._reported():
            try:
                self._check_directory()
                descriptor = os.open(path, os.O_RDONLY | _NO_LINKS | getattr(os, "O_BINARY", 0))
            except FileNotFoundError:
                return None
            except OSError:
                _refuse_link(path)
                raise
            with os.fdopen(descriptor, "rb") as file:
                _check_owner(path, os.fstat(descriptor))
                return file.read()

    def write(self, name: str, content: bytes) -> None:
        path = self._entry(name)
        temporary = path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINKS | getattr(os, "O_BINARY", 0)
        with self._reported():
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)

    def delete(self, name: str) -> None:
        with self._reported(), suppress(FileNotFoundError):
            os.unlink(self._entry(name))

    @contextmanager
    def locked(self, name: str) -> Generator[None, None, None]:
        # Imported here because what is stored can mostly be read without a lock.
        from inspect import signature

        from filelock import FileLock, Timeout

        # A soft lock, which newer versions fall back to, outlives a process that was killed.
        has_choice = "fallback_to_soft" in signature(FileLock.__init__).parameters
        hard: Any = {"fallback_to_soft": False} if has_choice else {}
        with self._reported():
            self._make_directory()
            lock = FileLock(self._entry(name).with_suffix(".lock"), mode=0o600, **hard)
            try:
                lock.acquire(timeout=LOCK_PATIENCE_SECONDS)
            except Timeout:
                raise StoreUnavailable(f"{self!r} is locked by another process") from None
        try:
            yield
        finally:
            lock.release()

    def _entry(self, name: str) -> Path:
        if self._path is None and not self.path.is_absolute():
            raise StoreUnavailable("there is no home directory for a FileTokenStore without path")
        return self.path / f"{name}.json"

    def _make_directory(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        self._check_directory()

    def _check_directory(self) -> None:
        _refuse_link(self.path)
        status = self.path.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is no directory")
        _check_owner(self.path, status)

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        try:
            yield
        except (OSError, NotImplementedError) as error:
            # filelock raises the latter where the file system knows no locks.
            reason = getattr(error, "strerror", None) or type(error).__name__
        else:
            return
        raise StoreUnavailable(f"{self!r} cannot be reached ({reason})")


def _default_path() -> Path:
    # Imported here so that those who name a directory need not wait for it.
    from platformdirs import user_cache_path

    return user_cache_path("thingspace-auth", appauthor=False)


def _demand_extra() -> None:
    from importlib.util import find_spec

    for name in ("filelock", "platformdirs"):
        if find_spec(name) is None:
            raise ImportError(
                f"FileTokenStore needs {name}: pip install 'thingspace-auth-adapters[files]'"
            )


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise InsecureStoreError(f"{path} is a symbolic link, which somebody else may turn")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not _HAS_OWNERS:
        return
    if status.st_uid != os.geteuid():
        raise InsecureStoreError(f"{path} belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise InsecureStoreError(
            f"{path} can be reached by other users: chmod {'700' if path.is_dir() else '600'} it,"
            " or delete it"
        )
