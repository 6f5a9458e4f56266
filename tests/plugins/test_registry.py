"""The registry finds, loads, checks and lists plugins; one that is broken leaves the others usable."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest_paths import THIRD_PARTY
