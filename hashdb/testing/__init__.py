"""Checks that a method or a quantiser keeps its contract, for the built-in plugins and for everyone's.

Each check has a name and stands alone, so that a test may run one at a time::

    @pytest.mark.parametrize("check", hashdb.testing.METHOD_CHECKS)
    def test_mine(check):
        hashdb.testing.check_method("mine", only=[check])

Nothing here needs pytest.
"""

from __future__ import annotations

from hashdb.testing.expect import CheckFailure
from hashdb.testing.suites import METHOD_CHECKS, QUANTISER_CHECKS, check_method, check_quantiser

__all__ = ["METHOD_CHECKS", "QUANTISER_CHECKS", "CheckFailure", "check_method", "check_quantiser"]
