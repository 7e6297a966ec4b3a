"""What a distance may be called: FID and KID are those of the TensorFlow Inception of 2015, and of nothing else."""

from __future__ import annotations

import re

from ltbench.errors import UserError

INCEPTION_2015 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # sha256 of the published file
RESERVED = re.compile(r"FID|KID|(?i:[fk]id(?![a-z])|inception[-_]?2015)")  # "myfid" and "fid_x", but not "confident"


def measure_names(extractor: str, weights: str = "") -> tuple[str, str]:
    """Names of the Frechet and the kernel distance in these features: ("fid", "kid") or ("fd", "kd").

    weights: sha256 of the weights file. UserError where the extractor claims the reserved name with other weights.
    """
    if weights == INCEPTION_2015:
        return "fid", "kid"
    if RESERVED.search(extractor):
        raise UserError(
            f"the features {extractor!r} must not be called so: their weights are {weights[:8] or 'unknown'}, FID "
            f"means the Inception of 2015 ({INCEPTION_2015[:8]}); name them otherwise, for example fd[stand-in]"
        )
    return "fd", "kd"
