"""One process to a folder: a lock of the operating system, which dies with the process that holds it.

The lock is on an empty file in the folder. Its holder removes the file at the
end; a killed one leaves the file, but not the lock. A process that it has
forked holds nothing, and may outlive it.
"""

import contextlib
import errno
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

NAME = ".simsim.lock"
NO_LOCKS = errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP  # what file systems say that have none
TRIES = 100  # how often the file may be replaced under our hands before we give up
_held: set[int] = set()  # the descriptors that have a lock


class Locked(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(folder):
    """Hold the lock of `folder` (a Path). Raises Locked where another process has it; OSError.

    On a file system that has no locks, nothing is held.
    """
    path = folder / NAME
    descriptor = _acquire(path)
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:  # as it is but in a fork of the holder
            _release(path, descriptor)


def _release(path, descriptor):
    """Let go of a lock and remove its file."""
    _held.discard(descriptor)
    if fcntl:  # removed while the lock is held: nobody else's file goes
        _remove(path)
    else:  # closing the file would do it as well, but only when the system comes to it
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    os.close(descriptor)
    if not fcntl:  # Windows removes no open file, ours or another's
        _remove(path)


def _let_go():
    """Close the descriptors that a fork has copied: the lock stays with the parent, and dies with it."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _acquire(path):
    """A descriptor of the file at `path` that has the lock.

    Between opening a file and locking it, its last holder may have removed it.
    Such a lock is worth nothing: the next process would make a new file.
    """
    for _ in range(TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise Locked


def _lock(descriptor):
    """Lock an open file without waiting; Locked where that is not possible now."""
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):  # POSIX, Windows
        raise Locked from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _remove(path):
    with contextlib.suppress(OSError):
        os.unlink(path)
