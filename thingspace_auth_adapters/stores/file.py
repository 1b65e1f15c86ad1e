"""A store in the file system, for the processes of one user on one machine.

Whoever may write to the store's parent directory can put another directory in its place at any
moment. So a directory is opened once and checked on its descriptor; all that follows is relative
to that descriptor, and each file is checked on its own. Windows can do neither, and does without.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from .._model.checks import described, naming
from ..errors import InsecureStoreError
from .token_store import StoreBusy, StoreUnavailable, TokenStore

if TYPE_CHECKING:
    from filelock import BaseFileLock

_IS_POSIX = os.name == "posix"

# O_NONBLOCK: to open a FIFO in the place of a file would wait for its other end.
_CAREFUL_FLAGS = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)


class FileTokenStore(TokenStore):
    """Shares tokens through files that only this user can read.

    Args:
        path (str | os.PathLike | None): the directory, by default one in the user's cache
            directory. If it is missing, it is made for this user alone, its parents too.

    Raises:
        ImportError: the extra ``[files]`` is not installed.
        TypeError, ValueError: ``path`` is not a path.
    """

    @naming()
    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        _require_extra()
        if not isinstance(path, (str, os.PathLike, type(None))):
            raise TypeError(
                f"path of FileTokenStore must be a str or os.PathLike, not {described(path)}"
            )
        if path is not None and "\0" in os.fspath(path):
            raise ValueError("path of FileTokenStore must not contain a null character")
        # Absolute, so that a later chdir does not lead to another store.
        self._path = None if path is None else Path(path).absolute()

    @property
    def path(self) -> Path:
        """The directory."""
        return _default_path() if self._path is None else self._path

    @property
    def how_to_clear(self) -> str:
        return f"run `thingspace-auth clear` with THINGSPACE_AUTH_STORE={quote(str(self.path))}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def read(self, name: str) -> bytes | None:
        with self._reported(), suppress(FileNotFoundError), self._directory() as directory:
            with os.fdopen(_open(self._entry(name), os.O_RDONLY, directory), "rb") as file:
                return file.read()
        return None

    def write(self, name: str, content: bytes) -> None:
        entry = self._entry(name)
        temporary = entry.with_name(f"{secrets.token_hex(16)}.new")
        with self._reported(), self._directory(make=True) as directory:
            descriptor = _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    with suppress(OSError):
                        # By the file system's clock: tests of the user's may change Python's.
                        _clean_up(entry.parent, directory, os.fstat(descriptor).st_mtime, 60.0)
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                names = _at(temporary, directory), _at(entry, directory)
                os.replace(*names, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    _unlink(temporary, directory)
                raise

    def delete(self, name: str) -> None:
        with self._reported(), suppress(FileNotFoundError), self._directory() as directory:
            _unlink(self._entry(name), directory)

    def remove_temporary_files(self, older_than: float = 0.0) -> None:
        """Remove what killed writers have left behind; ``write`` does so after a minute.

        Args:
            older_than (float): seconds. By default all are removed.

        Raises:
            StoreUnavailable, InsecureStoreError: it cannot be reached, or not be trusted.
        """
        with self._reported(), suppress(FileNotFoundError), self._directory() as directory:
            _clean_up(self.path, directory, time.time(), older_than)

    @contextmanager
    def locked(self, name: str, patience: float) -> Generator[None, None, None]:
        # Imported here because what is stored can mostly be read without a lock.
        from filelock import Timeout

        path = self._entry(name).with_suffix(".lock")
        with self._reported():
            with self._directory(make=True) as directory:
                # filelock takes paths; some versions follow links, and truncate what they find.
                os.close(_open(path, os.O_RDWR | os.O_CREAT, directory))
            lock = _hard_lock(path)
            try:
                lock.acquire(timeout=patience)
            except Timeout:
                raise StoreBusy(f"{self!r} is locked by another process") from None
        try:
            yield
        finally:
            with self._reported():
                lock.release()

    def _entry(self, name: str) -> Path:
        return self.path / f"{name}.json"

    @contextmanager
    def _directory(self, make: bool = False) -> Generator[int | None, None, None]:
        """The checked directory's descriptor; ``None`` on Windows."""
        path = self.path
        if not path.is_absolute():
            raise StoreUnavailable("there is no home directory: give FileTokenStore a path")
        if make:
            _make_directories(path)
        # What cannot even be made must not seem to be there, and empty. On Windows there may be
        # nothing at all, not even the drive.
        nearest = (one for one in (path, *path.parents) if os.path.lexists(one))
        found = next(nearest, Path(path.anchor))
        if found != path and not (found.is_dir() and os.access(found, os.W_OK | os.X_OK)):
            raise StoreUnavailable(f"{self!r} cannot be reached, and not be made in {found}")
        if not _IS_POSIX:
            yield None
            return
        with _opened_directory(path) as descriptor:
            yield descriptor

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        """Turn what the file system raises into a StoreUnavailable."""
        try:
            yield
        # filelock raises a NotImplementedError if the file system has no locks.
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise StoreUnavailable(f"{self!r} cannot be reached ({reason})") from None


def _default_path() -> Path:
    # Imported here so that those who name a directory need not wait for it.
    from platformdirs import user_cache_path

    # Without a home directory some versions raise one error or another, and some return this.
    with suppress(Exception):
        return user_cache_path("thingspace-auth", appauthor=False)
    return Path("~/.cache/thingspace-auth")


def _require_extra() -> None:
    from importlib.util import find_spec

    for name in ("filelock", "platformdirs"):
        if find_spec(name) is None:
            raise ImportError(
                f"FileTokenStore needs {name}: pip install 'thingspace-auth-adapters[files]'"
            )


def _hard_lock(path: Path) -> BaseFileLock:
    from inspect import signature

    from filelock import FileLock

    options: dict[str, Any] = {"mode": 0o600, "thread_local": False}
    if "fallback_to_soft" in signature(FileLock.__init__).parameters:
        # A soft lock would outlive a process that was killed.
        options["fallback_to_soft"] = False
    return FileLock(path, **options)


def _make_directories(path: Path) -> None:
    for directory in (one for one in (*reversed(path.parents), path) if not one.exists()):
        # Another process may be faster.
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if _IS_POSIX:
                with _opened_directory(directory) as descriptor:
                    # The umask may have taken permissions from the user, too.
                    os.fchmod(descriptor, 0o700)


def _clean_up(path: Path, directory: int | None, now: float, older_than: float) -> None:
    for file in os.scandir(path if directory is None else directory):
        # Another process may be faster.
        with suppress(OSError):
            # A clock that was ahead has left files of the future.
            age = abs(now - file.stat(follow_symlinks=False).st_mtime)
            # The user may keep other files there, too.
            if age >= older_than and re.fullmatch(r"[0-9a-f]{32}\.new", file.name):
                _unlink(path / file.name, directory)


@contextmanager
def _opened_directory(path: Path) -> Generator[int, None, None]:
    descriptor = _open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _at(path: Path, directory: int | None) -> str:
    """What to call a file, relative to a directory's descriptor if there is one."""
    return str(path) if directory is None else path.name


def _open(path: Path, flags: int, directory: int | None = None) -> int:
    """Open what only this user can read or change; raise InsecureStoreError for all else."""
    is_directory = bool(flags & getattr(os, "O_DIRECTORY", 0))
    at = _at(path, directory)
    try:
        descriptor = os.open(at, flags | _CAREFUL_FLAGS, 0o600, dir_fd=directory)
    except OSError:
        # A link, a socket or a stranger's file cannot even be opened.
        with suppress(FileNotFoundError):
            _check(path, os.stat(at, dir_fd=directory, follow_symlinks=False), is_directory)
        raise
    try:
        _check(path, os.fstat(descriptor), is_directory)
        if _IS_POSIX and flags & os.O_CREAT:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlink(path: Path, directory: int | None) -> None:
    os.unlink(_at(path, directory), dir_fd=directory)


def _check(path: Path, status: os.stat_result, is_directory: bool) -> None:
    if stat.S_ISLNK(status.st_mode):
        problem = "is a symbolic link, which may lead anywhere: remove it"
    elif not is_directory and not stat.S_ISREG(status.st_mode):
        problem = "is not a regular file: remove it"
    elif not _IS_POSIX or is_directory != stat.S_ISDIR(status.st_mode):
        return
    elif status.st_uid != os.geteuid():
        problem = "belongs to another user: remove it, or give FileTokenStore another path"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        mode = "700" if is_directory else "600"
        problem = f"can be reached by other users: run chmod {mode} on it, or remove it"
    else:
        return
    raise InsecureStoreError(f"{path} {problem}")
