"""Every error that ltbench raises on purpose: what failed, the value seen, what to do about it."""

from __future__ import annotations


class LtbenchError(Exception):
    """Base of all deliberate errors; the command line prints its text and exits with `exit_status`."""

    exit_status = 1


class UserError(LtbenchError):
    """A mistake in what the user asked for (exit status 2)."""

    exit_status = 2


class UnknownName(UserError):
    """An id, option or key that does not exist; the text holds the nearest matches."""


class PluginError(UserError):
    """A plugin that cannot be used: failed import, duplicate id, other API version."""


class DataError(UserError):
    """Data that is missing, incomplete, undecodable or contradicts its description."""


class FetchNotAllowed(DataError):
    """The data set needs a login or an agreement; the text holds the exact steps."""


class ContractError(LtbenchError):
    """A component broke the contract: wrong shape, dtype, range or sum."""


class NonFinite(LtbenchError):
    """A loss, gradient or output became nan or infinite."""


class Diverged(NonFinite):
    """Every candidate of an epoch diverged."""


class CannotGuide(ContractError):
    """The classifier offers no differentiable logits, so no generator can be guided by it."""


class TestIsSealed(ContractError):
    """A component touched the test part before the final evaluation."""

    __test__ = False


class CheckpointError(LtbenchError):
    """A checkpoint, cache entry or result folder that is corrupt, foreign or of a newer schema."""


class DiskFull(LtbenchError):
    """No space is left where results are written; nothing that was finished is lost."""


class Busy(LtbenchError):
    """Another process is working on the same cell."""
