"""The exit codes, and which error ends with which."""

from __future__ import annotations

from enum import IntEnum

from trimtab import errors


class Exit(IntEnum):
    """What the process ends with. `meaning` is what `--help` and the documentation say about it."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        """Keep the sentence beside the number."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "done"
    FAILED = 1, "it was tried and failed: the run failed, or an error without a code of its own"
    USAGE = 2, "the command line, or an event made from it, is wrong"
    NOT_FOUND = 3, "no function, revision, run or trigger of that name"
    UNREACHABLE = 4, "the target or the URL does not answer"
    SPEC = 5, "the function's description was refused"
    DEPLOY = 6, "the handler cannot be used, the cluster lacks what it needs, or the new revision never became ready"
    CONFLICT = 7, "the request contradicts what is there"
    BUILD = 8, "no image can be built of this, or the registry refused it"
    ANSWER = 22, "the function answered with a status that is not 2xx (as in curl -f)"
    INTERNAL = 70, "an error in Trimtab itself"
    INTERRUPTED = 130, "Ctrl-C, or a run that was cancelled"
    PIPE = 141, "whoever read the output went away"


_CODES: tuple[tuple[type[errors.TrimtabError], Exit], ...] = (
    (errors.SpecError, Exit.SPEC),
    (errors.NotVerified, Exit.DEPLOY),
    (errors.BuildError, Exit.BUILD),
    (errors.HandlerError, Exit.DEPLOY),
    (errors.EventError, Exit.USAGE),
    (errors.TargetUnreachable, Exit.UNREACHABLE),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.Conflict, Exit.CONFLICT),
    (errors.PreflightFailed, Exit.DEPLOY),
    (errors.DeployFailed, Exit.DEPLOY),
    (errors.InvocationFailed, Exit.ANSWER),
)


def code_of(error: errors.TrimtabError) -> Exit:
    """Give the exit code for an error: that of the nearest class listed here."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)
