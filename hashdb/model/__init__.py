"""Model: a method, perhaps a quantiser, their params and what they learned; and fit, which makes one.

Rows go in, codes or margins come out. ``checks`` looks at what the caller gives, ``fitting`` learns, ``continuing``
goes on learning, ``fitted`` encodes, ``document`` is what an index stores of a model, ``encoder`` what turns items into
rows before, ``pairs`` finds neighbours for quantisers that want them.
"""

from __future__ import annotations

from hashdb.model.continuing import partial_fit
from hashdb.model.encoder import Encoder, without_encoder
from hashdb.model.fitted import Model
from hashdb.model.fitting import check_fit, fit

__all__ = ["Encoder", "Model", "check_fit", "fit", "partial_fit", "without_encoder"]
