"""The systems as plain recipes.

fidelity: where each value comes from, "paper", "code" (the authors' release), "assumed" (neither says) or "control".
"""

from typing import Any
