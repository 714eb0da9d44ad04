"""Every error opslib raises on purpose, in one small tree.

OpslibError
├── UsageError            bad input; nothing was run, nothing was written          exit status 2
│   ├── ParameterError    a parameter is unknown, of the wrong type, out of range
│   ├── RunbookError      a notebook is not a well-formed runbook, or is not there
│   └── SettingsError     a profile is unknown, unreadable or incomplete
├── SourceError           a system could not be read: the answer is unknown
│   ├── Unreachable       no connection, or no answer before the deadline
│   ├── NotInstalled      the system is not part of this platform
│   ├── NotPermitted      the identity may not do this                             exit status 6 when it was to apply
│   └── NotFound          the object asked for does not exist
├── Refused               a change was not applied, and nothing was touched        exit status 6
│   ├── StaleConfirmation no such proposal, expired, used before, or for something else
│   ├── LeaseHeld         somebody else is changing the same target
│   ├── WrongCluster      this is not the cluster that was named
│   └── TargetChanged     the object is no longer what the diff showed
├── NotMitigated          a change was applied and the symptom is still there      exit status 4
├── EvidenceError         evidence cannot be written, read or trusted              exit status 3
└── Interrupted           a signal ended the run                                   exit status 130, 143
"""

from __future__ import annotations


class OpslibError(Exception):
    """Something failed: `what` on which `target`, and what to do `next`."""

    exit_status = 3

    def __init__(self, what: str, *, target: str = "", next: str = "") -> None:
        self.what = what
        self.target = target
        self.next = next
        super().__init__(what)

    def __str__(self) -> str:
        where = f" [{self.target}]" if self.target else ""
        then = f" Next: {self.next}" if self.next else ""
        return f"{self.what}{where}{then}"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a stack: what failed, on which target, what to do next."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(OpslibError):
    """Bad input; nothing was run and nothing was written."""

    exit_status = 2


class ParameterError(UsageError):
    """A parameter is unknown, of the wrong type, out of range, or may not be a parameter."""


class RunbookError(UsageError):
    """A notebook is not a well-formed runbook, or is not there."""


class SettingsError(UsageError):
    """A profile is unknown, unreadable or incomplete."""


class SourceError(OpslibError):
    """A system could not be read: the answer is unknown, never healthy."""


class Unreachable(SourceError):
    """No connection, or no answer before the deadline."""


class NotInstalled(SourceError):
    """The system is not part of this platform."""


class NotPermitted(SourceError):
    """The identity may not do this."""

    exit_status = 6


class NotFound(SourceError):
    """The object asked for does not exist."""


class Refused(OpslibError):
    """A change was not applied, and nothing was touched."""

    exit_status = 6


class StaleConfirmation(Refused):
    """No such proposal, expired, used before, or for something else."""


class LeaseHeld(Refused):
    """Somebody else is changing the same target."""


class WrongCluster(Refused):
    """This is not the cluster that was named."""


class TargetChanged(Refused):
    """The object is no longer what the diff showed."""


class NotMitigated(OpslibError):
    """A change was applied and the symptom is still there."""

    exit_status = 4


class EvidenceError(OpslibError):
    """Evidence cannot be written, read or trusted."""


class Interrupted(OpslibError):
    """A signal ended the run."""

    def __init__(self, what: str, *, signal: int, target: str = "", next: str = "") -> None:
        super().__init__(what, target=target, next=next)
        self.exit_status = 128 + signal
