"""Model: a method, perhaps a quantiser, their params and what they learned; and fit, which makes one.

Rows go in, codes or margins come out. ``checks`` looks at what the caller gives, ``fitting`` learns, ``fitted``
encodes, ``document`` is what an index stores of a model, ``pairs`` finds neighbours for quantisers that want them.
"""

from __future__ import annotations

from hashdb.model.fitted import Model
from hashdb.model.fitting import fit

__all__ = ["Model", "fit"]
