"""What a power cut leaves of a process's files: of each, what it was when it was last synced.

Python imports this module at its start where this folder is on its path, as in the processes of
`tests/system/broken`; only with SYNCED_FOLDER set does it do anything. Each `fsync` and
`fdatasync` is passed on, and the file is copied as it is then, under its inode's number, which
outlives a rename. What is written and not synced is in no copy.
"""

import os
import shutil
from pathlib import Path

_folder = os.environ.get("SYNCED_FOLDER", "")


def _copying(sync):  # type: ignore[no-untyped-def]  # either of the two below
    def synced(fd):  # type: ignore[no-untyped-def]
        sync(fd)
        target = Path(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH115 - may be deleted by now
        if target.is_file():
            draft = Path(_folder) / f"{os.fstat(fd).st_ino}.draft"
            shutil.copyfile(f"/proc/self/fd/{fd}", draft)
            draft.rename(draft.with_suffix(""))

    return synced


if _folder:
    Path(_folder).mkdir(parents=True, exist_ok=True)
    os.fsync = _copying(os.fsync)
    os.fdatasync = _copying(os.fdatasync)
