"""The index on disk: immutable segments in plain Zarr v3, numbered manifests, atomic commits.

:class:`Store` is the door. See ``docs/format.md`` for what is on disk.
"""

from hashdb.storage.commit import DISK, Files
from hashdb.storage.folder import Attributes
from hashdb.storage.maintain import VerifyReport, verify
from hashdb.storage.segments import NewSegment, SegmentWriter, Sizes
from hashdb.storage.snapshot import Segment, Snapshot
from hashdb.storage.store import Store
from hashdb.storage.sweeping import CompactReport
from hashdb.storage.tables import BucketTable, TableMaker, TableSet, TableSink
from hashdb.storage.versions import VersionInfo

__all__ = [
    "Store",
    "Snapshot",
    "Segment",
    "SegmentWriter",
    "NewSegment",
    "Attributes",
    "VersionInfo",
    "CompactReport",
    "VerifyReport",
    "verify",
    "Files",
    "DISK",
    "Sizes",
    "BucketTable",
    "TableSet",
    "TableMaker",
    "TableSink",
]
