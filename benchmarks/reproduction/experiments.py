"""The experiments that ``hashdb eval`` measures: data, methods, widths, split, truth, runs."""

from __future__ import annotations

from dataclasses import dataclass, field

QUALITY = ("map", "map_by_order")
NEIGHBOURS = ("map", "map_by_order", "auprc")
CROSSMODAL_FAST = ("cvh", "cmssh", "imh", "scm", "cmfh", "scratch")
CROSSMODAL_SLOW = ("crh", "pdh", "rcmh", "sephkm")
QUANTISED = tuple(
    method if quantiser == "sbq" else f"{method}+{quantiser}"
    for method in ("lsh", "pcah", "itq")
    for quantiser in ("sbq", "dbq", "mhq", "npq", "vbq")
)


@dataclass(frozen=True)
class Experiment:
    """One call of ``hashdb eval``.

    Attributes
    ----------
    data : str
    methods : tuple of str
    bits : tuple of int
    runs : int
    options : mapping of option to value
    metrics : tuple of str
        Those that are kept.
    """

    data: str
    methods: tuple[str, ...]
    bits: tuple[int, ...]
    runs: int
    options: dict[str, str | int] = field(default_factory=dict)
    metrics: tuple[str, ...] = QUALITY

    @property
    def arguments(self) -> list[str]:
        """As the command line has them."""
        options = [part for name, value in self.options.items() for part in (f"--{name}", str(value))]
        bits = ",".join(map(str, self.bits))
        return [self.data, "--methods", ",".join(self.methods), "--bits", bits, "--runs", str(self.runs), *options]


_NO_VALIDATION: dict[str, str | int] = {"validation-queries": 0, "validation-database": 0}  # nothing is tuned
_WIKI = {"test-queries": 466, "train": 1200, **_NO_VALIDATION}
_SIFT = {"truth": "nearest", "queries": "drawn", "test-queries": 1000, "train": 4000, "at": "10,50,100,500,1000"}
_SIFT |= _NO_VALIDATION
_SIFT_METHODS = ("lsh", "sh", "itq", "agh", "agh+hq", "sph", "isohash")
_SIFT_METRICS = (*NEIGHBOURS, *(f"recall@{n}" for n in (10, 50, 100, 500, 1000)), "recall_within_2", "empty@2")
_TEXTS = {"train": 8000, "baseline": "itq", **_NO_VALIDATION}
_LABELLED = ("itq", "itq-cca", "cosdish", "sdh", "fsdh")

EXPERIMENTS = {
    "unsupervised": Experiment(
        "cifar10-gist",
        ("lsh", "pcah", "sh", "itq"),
        (16, 32, 64),
        10,
        metrics=(*QUALITY, "auprc", "empty@2", "bit_correlation", "quantisation_error_scaled"),
    ),
    "labels-improved": Experiment("cifar10-gist", ("itq", "ksh"), (16, 32, 64), 5, {"baseline": "itq"}),
    "labels-standard": Experiment(
        "cifar10-gist", ("itq", "ksh"), (16, 32, 64), 5, {"baseline": "itq", "split": "standard"}
    ),
    "share-improved": Experiment("cifar10-gist", ("itq", "sdh"), (32,), 3, {"train": 20_000, "baseline": "itq"}),
    "share-standard": Experiment(
        "cifar10-gist", ("itq", "sdh"), (32,), 3, {"train": 20_000, "baseline": "itq", "split": "standard"}
    ),
    "wiki-fast": Experiment("wiki", CROSSMODAL_FAST, (16, 32, 64), 3, {**_WIKI, "baseline": "cvh"}),
    "wiki-slow": Experiment("wiki", CROSSMODAL_SLOW, (16, 32, 64), 2, {**_WIKI, "baseline": "crh"}),
    "sift-1": Experiment(
        "sift-bigann10k", _SIFT_METHODS, (16, 32, 48, 64, 128), 2, {**_SIFT, "neighbours": 50}, _SIFT_METRICS
    ),
    "sift-0.1": Experiment(
        "sift-bigann10k", _SIFT_METHODS, (16, 32, 48, 64), 2, {**_SIFT, "neighbours": 5}, _SIFT_METRICS
    ),
    "quantisers": Experiment(
        "cifar10-gist",
        QUANTISED,
        (16, 32, 64),
        2,
        {"truth": "epsilon", "test-queries": 500, "train": 2000},
        (*NEIGHBOURS, "queries_without_relevant"),
    ),
    "texts-improved": Experiment("newsgroups20-minilm", _LABELLED, (64,), 3, _TEXTS),
    "texts-standard": Experiment("newsgroups20-minilm", _LABELLED, (64,), 3, {**_TEXTS, "split": "standard"}),
}
