"""Where a task starts that names no folder.

The work folder is below the agent's own, which is closed to others: a task of
another user starts there only if that user may, else at the root, where
everybody may be.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

ROOT = "/"


def default_folder(work_folder: Path, user: pwd.struct_passwd | None) -> str:
    """The work folder, or `/` for a user who cannot enter it."""
    if user is None or may_enter(user, work_folder):
        return str(work_folder)
    return ROOT


def may_enter(user: pwd.struct_passwd, folder: Path) -> bool:
    """By the modes of the folder and all above it; access lists are not asked."""
    if user.pw_uid == 0:
        return True
    groups = {user.pw_gid, *os.getgrouplist(user.pw_name, user.pw_gid)}
    try:
        real = folder.resolve(strict=True)
        return all(_open_to(each.stat(), user.pw_uid, groups) for each in (real, *real.parents))
    except OSError:
        return False


def _open_to(found: os.stat_result, uid: int, groups: set[int]) -> bool:
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid in groups:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
