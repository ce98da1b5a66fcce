"""Turns into an embedded server: gives up root, ties its life to the service's, steps behind it, execs the program.

Run as `python -I -S embedded_launch.py PARENT_PID DEATH_SIGNAL FOLDER... -- PROGRAM ARGUMENT...`. A program of its own,
because subprocess's `preexec_fn` runs Python between fork and exec, which can deadlock in a service that has threads.
Standard library only.

PostgreSQL refuses user id 0, and initdb refuses a user id without a name. Root (or a nameless user of a container)
therefore becomes, in this order:
1. "nobody" in a user namespace that maps nobody to the present user: no capabilities, but files stay owned by who
   started the service, so that it works inside /root and nothing needs a chown;
2. where namespaces are forbidden (Docker's default seccomp profile): the real account "nobody", which gets the folders.
"""

import contextlib
import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path
from typing import NoReturn

CLONE_NEWUSER = 0x10000000  # linux/sched.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h
EXIT_REFUSED = 126  # the shell's own "found, but cannot be run"


def main(arguments: list[str]) -> NoReturn:
    """Drop privileges, arrange to die with the parent, exec; a failure goes to stderr, which is the server's log."""
    separator = arguments.index("--")
    parent_pid, death_signal = int(arguments[0]), int(arguments[1])
    folders, command = arguments[2:separator], arguments[separator + 1 :]
    os.umask(0o077)
    try:
        become_unprivileged(folders)
        die_with_parent(parent_pid, signal.Signals(death_signal))
        let_the_service_go_first()
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(refusal(f"cannot run {command[0]}: {error}"))


def become_unprivileged(folders: list[str]) -> None:
    """Leave root and nameless user ids behind; do nothing for an ordinary user."""
    if os.geteuid() != 0 and has_name(os.geteuid()):
        return
    account = unprivileged_account()
    if namespace_allowed(account):
        give(folders, os.geteuid(), os.getegid())  # they may be nobody's from an earlier run without namespaces
        enter_namespace(account)
    elif os.geteuid() == 0:
        give(folders, account.pw_uid, account.pw_gid)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        for path in (*folders, sys.argv[sys.argv.index("--") + 1]):
            if not os.access(path, os.X_OK):
                sys.exit(refusal(f"root runs the server as {account.pw_name}, who has no access to {path}"))
    else:
        sys.exit(refusal(f"user id {os.geteuid()} has no name: PostgreSQL needs an entry in /etc/passwd for it"))


def has_name(user_id: int) -> bool:
    """Whether the account database knows this user id."""
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        return False
    return True


def unprivileged_account() -> pwd.struct_passwd:
    """The account "nobody", or the first that is not root where a tiny container has no nobody."""
    others = [account for account in pwd.getpwall() if account.pw_uid != 0]
    if not others:
        sys.exit(refusal("there is no account but root in /etc/passwd: add one, PostgreSQL does not run as root"))
    return next((account for account in others if account.pw_name == "nobody"), others[0])


def namespace_allowed(account: pwd.struct_passwd) -> bool:
    """Try it in a child: a process that got half way (unshared, but not mapped) could not turn back."""
    if sys.platform != "linux":
        return False
    child = os.fork()
    if child == 0:
        try:
            enter_namespace(account)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def enter_namespace(account: pwd.struct_passwd) -> None:
    """From here on this process is `account` to itself and to PostgreSQL, and the present user to the file system."""
    user_id, group_id = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")  # the kernel's condition for mapping a group without CAP_SETGID
    Path("/proc/self/gid_map").write_text(f"{account.pw_gid} {group_id} 1")
    Path("/proc/self/uid_map").write_text(f"{account.pw_uid} {user_id} 1")


def give(folders: list[str], user_id: int, group_id: int) -> None:
    """Make these trees the user's own; only root may, and only root needs to."""
    if os.geteuid() != 0:
        return
    for folder in folders:
        if os.stat(folder).st_uid == user_id:
            continue
        for parent, _, names in os.walk(folder):
            for name in names:
                os.lchown(os.path.join(parent, name), user_id, group_id)
            os.lchown(parent, user_id, group_id)


def die_with_parent(parent_pid: int, death_signal: signal.Signals) -> None:
    """Have the kernel send `death_signal` when the service's main thread ends, however it ends.

    Last before exec, because a change of user id clears it. Linux only; elsewhere the next start cleans up.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before we asked
        sys.exit(refusal("the service is gone"))


def let_the_service_go_first() -> None:
    """Take no processor away from the service's loop when it hands us something: it would lose a millisecond over it.

    Linux: a batch process interrupts no other when it is woken (sched(7), SCHED_BATCH). No right is needed for it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox that forbids it: it runs all the same
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def refusal(reason: str) -> int:
    """Say why on stderr, and give the exit status for it."""
    sys.stderr.write(f"embedded_launch: {reason}\n")
    return EXIT_REFUSED


if __name__ == "__main__":
    main(sys.argv[1:])
