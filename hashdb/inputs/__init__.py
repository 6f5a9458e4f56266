"""Files of vectors, codes, ids and labels: streamed in batches, one module per family of formats.

| module | formats |
|---|---|
| `numpy_files` | ``.npy``, ``.npz`` |
| `vecs` | ``.fvecs``, ``.bvecs``, ``.ivecs``, ``.fbin``, ``.u8bin``, ``.i8bin`` |
| `idx` | idx (MNIST and its relatives) |
| `matlab` | ``.mat`` up to version 7 |
| `jsonl`, `table`, `hexlist` | ``.jsonl``, ``.csv``, text, hex codes; over `lines` |
| `stores`, `parquet` | ``.zarr``, ``.h5``, ``.parquet`` |

What a file claims is checked before memory is taken for it or another library reads it: `limits`, `matlab_check`,
`hdf5_check`, `parquet_check`, `zarr_check`.

`encoded` turns images and strings into vectors, with the function of an encoder.

Any of them may be gzipped, come from a pipe or from standard input; `files` sees to that. Where a file holds several
arrays, columns or keys, ``FILE::NAME`` picks one.
"""

from hashdb.inputs.encoded import encode_source, holds_items
from hashdb.inputs.formats import FORMATS, normalise_format
from hashdb.inputs.ids import normalise_ids, read_ids
from hashdb.inputs.labels import read_labels
from hashdb.inputs.opening import open_vectors
from hashdb.inputs.source import VectorSource

__all__ = [
    "FORMATS",
    "VectorSource",
    "encode_source",
    "holds_items",
    "normalise_format",
    "normalise_ids",
    "open_vectors",
    "read_ids",
    "read_labels",
]
