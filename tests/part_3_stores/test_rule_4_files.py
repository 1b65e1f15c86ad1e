"""Part 3, rule 4: what a file store keeps from other users, and what it refuses."""

from __future__ import annotations

import os
import pickle
import re
import secrets
import shlex
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable

import pytest

from thingspace_auth_adapters.errors import InsecureStoreError
from thingspace_auth_adapters.stores import FileTokenStore, StoreUnavailable
from thingspace_auth_adapters.stores import file as file_module

from ..support.real import PATIENCE, Threads

pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")

NAME = "ab" * 32


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path) -> FileTokenStore:
    return FileTokenStore(directory)


@pytest.fixture
def entry(store: FileTokenStore, directory: Path) -> Path:
    """The file of an entry that was written."""
    store.write(NAME, b"content")
    (path,) = directory.iterdir()
    return path


@contextmanager
def umask(mask: int) -> Iterator[None]:
    previous = os.umask(mask)
    try:
        yield
    finally:
        os.umask(previous)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def lock_and_release(store: FileTokenStore) -> None:
    with store.locked(NAME, PATIENCE):
        pass


Operation = Callable[[FileTokenStore], object]
OPERATIONS: dict[str, Operation] = {
    "read": lambda store: store.read(NAME),
    "write": lambda store: store.write(NAME, b"new"),
    "delete": lambda store: store.delete(NAME),
    "locked": lock_and_release,
    "remove_temporary_files": lambda store: store.remove_temporary_files(),
}


@pytest.fixture(params=list(OPERATIONS))
def operation(request: pytest.FixtureRequest) -> Operation:
    return OPERATIONS[request.param]


# What it makes.


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o177, 0o377])
def test_files_and_directories_are_for_the_user_alone_under_any_umask(
    tmp_path: Path, mask: int
) -> None:
    directory = tmp_path / "parent" / "parent" / "store"
    store = FileTokenStore(directory)
    tmp_path.chmod(0o755)
    with umask(mask):
        store.write(NAME, b"content")
        lock_and_release(store)
        assert store.read(NAME) == b"content"
    made = [directory, *directory.parents][:3]
    assert [mode(path) for path in made] == [0o700] * 3
    # What was there is left as it was.
    assert mode(tmp_path) == 0o755
    assert [mode(path) for path in directory.iterdir()] == [0o600] * 2


def test_directory_that_another_process_makes_first_will_do(
    store: FileTokenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(Path, "exists", lambda path: path != directory)
    store.write(NAME, b"content")
    assert store.read(NAME) == b"content"


def test_reading_and_deleting_make_nothing(store: FileTokenStore, directory: Path) -> None:
    assert store.read(NAME) is None
    store.delete(NAME)
    store.remove_temporary_files()
    assert not directory.exists()


def test_new_content_has_an_unpredictable_name_until_it_is_complete(
    store: FileTokenStore, directory: Path, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    synchronise = os.fsync

    def spy(descriptor: int) -> None:
        seen.extend(path.name for path in directory.iterdir() if path != entry)
        assert entry.read_bytes() == b"content"
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    for _ in range(2):
        store.write(NAME, b"content")
    assert len({*seen}) == 2
    assert all(len(name) >= 32 for name in seen)
    assert [*directory.iterdir()] == [entry]


@posix
@pytest.mark.parametrize("kind", ["file", "link"])
def test_file_of_somebody_else_under_the_temporary_name_is_left_alone(
    store: FileTokenStore, entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    victim.chmod(0o600)
    monkeypatch.setattr(secrets, "token_hex", lambda size: "guessed")
    guessed = entry.with_name("guessed.new")
    if kind == "link":
        guessed.symlink_to(victim)
    else:
        os.link(victim, guessed)
    with pytest.raises((StoreUnavailable, InsecureStoreError)):
        store.write(NAME, b"token")
    assert victim.read_bytes() == guessed.read_bytes() == b"untouched"
    assert store.read(NAME) == b"content"


def left_behind(directory: Path, seconds_ago: float) -> Path:
    """The temporary file of a writer that was killed."""
    path = directory / f"{secrets.token_hex(16)}.new"
    path.touch(mode=0o600)
    changed_at = time.time() - seconds_ago
    os.utime(path, (changed_at, changed_at))
    return path


# A clock that jumped may have been ahead.
@pytest.mark.parametrize("seconds_ago", [61, 1e6, -1e6])
def test_temporary_files_of_killed_writers_are_removed_by_the_next_write(
    store: FileTokenStore, entry: Path, seconds_ago: float
) -> None:
    left_behind(entry.parent, seconds_ago)
    mine, young = entry.with_name("notes.new"), left_behind(entry.parent, 30)
    mine.touch()
    os.utime(mine, (0, 0))
    store.write(NAME, b"content")
    assert {*entry.parent.iterdir()} == {entry, young, mine}


def test_write_judges_age_by_the_clock_of_the_file_system(
    store: FileTokenStore, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of the user's may have changed Python's, while another thread writes."""
    young = left_behind(entry.parent, 30)
    monkeypatch.setattr(time, "time", lambda: 1e6)
    store.write(NAME, b"content")
    assert young.exists()


def test_all_temporary_files_can_be_removed_or_those_of_an_age(
    store: FileTokenStore, entry: Path
) -> None:
    old, _ = left_behind(entry.parent, 30), left_behind(entry.parent, 120)
    store.remove_temporary_files(older_than=60)
    assert {*entry.parent.iterdir()} == {entry, old}
    left_behind(entry.parent, 0)
    left_behind(entry.parent, -1e6)
    store.remove_temporary_files()
    assert [*entry.parent.iterdir()] == [entry]


def test_temporary_file_that_another_process_removes_first_is_no_failure(
    store: FileTokenStore, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = left_behind(entry.parent, 120)
    unlink = os.unlink

    def unlink_twice(path: str, **options: Any) -> None:
        unlink(path, **options)
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink_twice)
        store.write(NAME, b"new")
    assert store.read(NAME) == b"new"
    assert not left.exists()


def test_directory_that_cannot_be_listed_can_be_written_to(
    store: FileTokenStore, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(directory: object) -> object:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        store.write(NAME, b"new")
        with pytest.raises(StoreUnavailable, match="Permission denied"):
            store.remove_temporary_files()
    assert store.read(NAME) == b"new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_write_that_fails_leaves_the_old_entry_and_no_temporary_file(
    store: FileTokenStore, entry: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    expected = StoreUnavailable if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        store.write(NAME, b"token")
    assert [*entry.parent.iterdir()] == [entry]
    assert store.read(NAME) == b"content"


# What it refuses.


def make_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(b"forged")
    elsewhere.chmod(0o600)
    path.symlink_to(elsewhere)


def make_socket(path: Path) -> None:
    previous = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(previous)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


IMPOSTORS: dict[str, Callable[[Path], object]] = {
    "symbolic link": make_link,
    "FIFO": lambda path: os.mkfifo(path, 0o600),
    "directory": lambda path: path.mkdir(mode=0o700),
    "socket": make_socket,
    "device": make_device,
}


@posix
@pytest.mark.parametrize("suffix", [".json", ".lock"])
@pytest.mark.parametrize("impostor", list(IMPOSTORS))
def test_anything_but_a_regular_file_is_refused_at_once(
    store: FileTokenStore, directory: Path, impostor: str, suffix: str
) -> None:
    directory.mkdir(mode=0o700)
    path = directory / f"{NAME}{suffix}"
    IMPOSTORS[impostor](path)
    threads, began = Threads(), time.monotonic()
    # To open a FIFO may take for ever.
    threads.start(OPERATIONS["read" if suffix == ".json" else "locked"], store)
    (error,) = threads.join()
    assert time.monotonic() - began < 5.0
    assert isinstance(error, InsecureStoreError)
    problem = "symbolic link" if impostor == "symbolic link" else "not a regular file"
    assert str(path) in str(error)
    assert problem in str(error)
    assert "remove it" in str(error)


@posix
@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o660, 0o610, 0o602])
def test_file_with_wider_permissions_is_refused(
    store: FileTokenStore, entry: Path, permissions: int
) -> None:
    entry.chmod(permissions)
    with pytest.raises(InsecureStoreError, match="chmod 600") as caught:
        store.read(NAME)
    assert str(entry) in str(caught.value)


@posix
@pytest.mark.parametrize("permissions", [0o750, 0o705, 0o701, 0o770])
def test_directory_with_wider_permissions_is_refused(
    store: FileTokenStore,
    entry: Path,
    permissions: int,
    operation: Operation,
) -> None:
    entry.parent.chmod(permissions)
    with pytest.raises(InsecureStoreError, match="chmod 700") as caught:
        operation(store)
    assert str(entry.parent) in str(caught.value)


@posix
def test_link_to_a_directory_is_refused(directory: Path, entry: Path, operation: Operation) -> None:
    link = directory.with_name("link")
    link.symlink_to(directory)
    with pytest.raises(InsecureStoreError, match="symbolic link"):
        operation(FileTokenStore(link))
    assert entry.read_bytes() == b"content"
    link.unlink()
    link.symlink_to(directory.with_name("elsewhere"))
    with pytest.raises(InsecureStoreError, match="symbolic link"):
        FileTokenStore(link).write(NAME, b"content")
    assert not directory.with_name("elsewhere").exists()


@posix
def test_directory_or_file_of_another_user_is_refused(
    store: FileTokenStore, entry: Path, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    owner = entry.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(InsecureStoreError, match=f"{entry.parent} belongs to another user"):
        operation(store)
    users = iter([owner, owner + 1])
    monkeypatch.setattr(os, "geteuid", lambda: next(users))
    with pytest.raises(InsecureStoreError, match=f"{entry} belongs to another user"):
        store.read(NAME)


@posix
def test_file_that_its_owner_lets_nobody_open_is_refused(
    store: FileTokenStore, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry.chmod(0o640)
    open_ = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if path == entry.name:
            raise PermissionError(13, "Permission denied")
        return open_(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InsecureStoreError, match="can be reached by other users"):
        store.read(NAME)


class Swap:
    """Puts a stranger's directory in the store's place after the store has checked its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.own = directory.with_name("own")
        self._status = os.fstat

    def __call__(self, descriptor: int) -> os.stat_result:
        status = self._status(descriptor)
        if not self.own.exists():
            self.directory.rename(self.own)
            self.directory.mkdir(mode=0o777)
            forged = self.directory / f"{NAME}.json"
            forged.write_bytes(b"forged")
            forged.chmod(0o600)
        return status


@posix
def test_directory_that_is_swapped_after_the_check_gets_no_token_and_gives_none(
    store: FileTokenStore, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for operation, left in (("read", b"content"), ("write", b"new"), ("delete", None)):
        swap = Swap(entry.parent)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", swap)
            outcome = OPERATIONS[operation](store)
        assert outcome == (b"content" if operation == "read" else None)
        assert [path.read_bytes() for path in swap.directory.iterdir()] == [b"forged"]
        assert [path.read_bytes() for path in swap.own.iterdir()] == ([left] if left else [])
        next(swap.directory.iterdir()).unlink()
        swap.directory.rmdir()
        swap.own.rename(swap.directory)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_no_descriptor_leaks_whatever_is_refused(
    store: FileTokenStore, entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt_everything() -> None:
        for operation in OPERATIONS.values():
            try:
                operation(store)
            except (InsecureStoreError, StoreUnavailable):
                continue

    def descriptors_of_the_store() -> list[str]:
        # The count for the whole process changes whenever garbage of other tests is closed.
        opened = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                opened.append(os.readlink(descriptor))
        return [target for target in opened if target.startswith(str(tmp_path))]

    attempt_everything()
    with store.locked(NAME, 1):
        assert descriptors_of_the_store()
    # Only root makes devices.
    for impostor in IMPOSTORS.keys() - {"device"}:
        for suffix in (".json", ".lock"):
            path = entry.with_suffix(suffix)
            path.unlink(missing_ok=True)
            IMPOSTORS[impostor](path)
            attempt_everything()
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    entry.parent.chmod(0o755)
    attempt_everything()
    assert descriptors_of_the_store() == []


# What it cannot reach.


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileTokenStore:
    """As in a container that runs under any user id."""

    def unknown(user: int) -> object:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pytest.importorskip("pwd"), "getpwuid", unknown)
    return FileTokenStore()


def test_without_a_home_directory_it_is_unavailable(
    homeless: FileTokenStore, operation: Operation
) -> None:
    with pytest.raises(StoreUnavailable, match="no home directory: give FileTokenStore a path"):
        operation(homeless)
    assert [*Path.cwd().iterdir()] == []


@pytest.mark.parametrize("error", [RuntimeError, KeyError])
def test_without_a_home_directory_it_can_be_shown(
    homeless: FileTokenStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Whether platformdirs finds a directory that is none, or raises what it likes."""

    def refuse(*arguments: object, **options: object) -> Path:
        raise error("no home")

    shown = repr(homeless), homeless.path, homeless.how_to_clear
    assert "thingspace-auth" in repr(homeless)
    monkeypatch.setattr("platformdirs.user_cache_path", refuse)
    assert (repr(homeless), homeless.path, homeless.how_to_clear) == shown


def refuse_to_make(monkeypatch: pytest.MonkeyPatch, parent: Path) -> None:
    """What permissions do, but not to root."""
    make = Path.mkdir

    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        if path.parent == parent:
            raise PermissionError(13, "Permission denied")
        make(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: path != parent)


@pytest.mark.parametrize("hindrance", ["permissions", "file", "file above", "dead link"])
def test_directory_that_is_missing_and_cannot_be_made_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: Operation, hindrance: str
) -> None:
    """Otherwise the count of logins would seem to be there and empty, and never be written."""
    parent = tmp_path / "parent"
    if hindrance == "permissions":
        parent.mkdir()
        refuse_to_make(monkeypatch, parent)
    elif hindrance.startswith("file"):
        parent.touch()
    else:
        parent.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        operation(FileTokenStore(parent if hindrance == "file" else parent / "between" / "store"))


def test_directory_on_a_missing_drive_is_unavailable(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where not even the uppermost directory need exist."""
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.read(NAME)


def test_file_system_without_locks_makes_it_unavailable_at_once(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft lock in its stead would outlive a process that was killed."""
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*arguments: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        lock_and_release(store)
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("has_choice", [True, False])
def test_lock_is_hard_whether_or_not_filelock_has_a_choice(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch, has_choice: bool
) -> None:
    filelock = pytest.importorskip("filelock")
    given: list[dict[str, Any]] = []

    class Lock:
        def __init__(self, path: Path, **options: Any) -> None:
            given.append(options)

        def acquire(self, timeout: float) -> None:
            given.append({"timeout": timeout})

        def release(self) -> None:
            pass

    class LockWithChoice(Lock):
        def __init__(self, path: Path, fallback_to_soft: bool = True, **options: Any) -> None:
            super().__init__(path, fallback_to_soft=fallback_to_soft, **options)

    monkeypatch.setattr(filelock, "FileLock", LockWithChoice if has_choice else Lock)
    lock_and_release(store)
    choice = {"fallback_to_soft": False} if has_choice else {}
    assert given == [{"mode": 0o600, "thread_local": False, **choice}, {"timeout": PATIENCE}]


def test_without_posix_permissions_it_still_stores(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a directory has no descriptor, and files have no owner."""
    monkeypatch.setattr(file_module, "_IS_POSIX", False)
    assert store.read(NAME) is None
    store.write(NAME, b"content")
    lock_and_release(store)
    assert store.read(NAME) == b"content"
    store.delete(NAME)
    assert store.read(NAME) is None


# What it is made from, and what it shows.


def test_its_directory_is_in_the_users_cache_and_moves_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FileTokenStore().path.is_absolute()
    assert FileTokenStore().path.name == "thingspace-auth"
    monkeypatch.chdir(tmp_path)
    store = FileTokenStore("store")
    monkeypatch.chdir("/")
    assert store.path == tmp_path / "store"


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        (7, TypeError, "must be"),
        (b"store", TypeError, "must be"),
        (["store"], TypeError, "must be"),
        ("a\0b", ValueError, "must not .* null character"),
    ],
)
def test_wrong_path_is_refused_by_name(path: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=f"path of FileTokenStore {told}"):
        FileTokenStore(path)


def test_it_shows_its_directory_and_how_to_clear_it(store: FileTokenStore, entry: Path) -> None:
    for shown in (store, pickle.loads(pickle.dumps(store))):
        assert repr(shown) == f"FileTokenStore({str(entry.parent)!r})"
        assert shown.how_to_clear == (
            f"run `thingspace-auth clear` with THINGSPACE_AUTH_STORE={entry.parent}"
        )


def test_path_with_blanks_is_quoted_for_a_shell(tmp_path: Path) -> None:
    store = FileTokenStore(tmp_path / "a store's")
    (line,) = re.findall(r"THINGSPACE_AUTH_STORE=.*", store.how_to_clear)
    assert shlex.split(line) == [f"THINGSPACE_AUTH_STORE={store.path}"]


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"thingspace-auth-adapters\[files\]"):
        FileTokenStore()
