"""Started in front of every rank: has the kernel end the process with its launcher, then becomes the rank.

Run as a script, ``python -I -S guard.py LAUNCHER COMMAND...``, and not between fork and exec of the launcher, whose other threads may hold
locks at that moment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(launcher: int, command: list[str]) -> None:
    """Become the command, bound to the launcher.

    Args:
        launcher: number of the process that must not be outlived.
        command: program and arguments.
    """
    # Kept across exec.  Killed and not asked to stop: a rank that waits for another one would not answer.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The launcher may have died before that: then nothing would come any more.
    if os.getppid() != launcher:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot start '{command[0]}': {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
