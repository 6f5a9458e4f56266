"""Sets with several views of each item: Wiki, MIRFlickr-25K, Scene-15."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hashdb.datasets import files
from hashdb.datasets.description import DataFile, Dataset, DatasetInfo, Download, Layout
from hashdb.errors import InputFileError
from hashdb.progress import Progress

_WIKI_LISTS = ("trainset_txt_img_cat.list", "testset_txt_img_cat.list")


def _read_wiki(folder: Path, progress: Progress) -> Dataset:
    """Labels, 1 to 10 as published, and names come from the lists, whose columns are text, image and class."""
    labels = np.concatenate([files.classes(folder / name, "2") for name in _WIKI_LISTS])
    label_names = tuple(files.names(folder / "categories.list"))
    if labels.min() < 1 or labels.max() > len(label_names):
        raise InputFileError(
            f"{folder / _WIKI_LISTS[0]} has classes from {labels.min()} to {labels.max()}, expected 1 to "
            f"{len(label_names)} as categories.list has names"
        )
    ids = [name for part in _WIKI_LISTS for name in files.names(folder / part, "0")]
    return _wiki(folder / "raw_features.mat", labels - 1, label_names, ids)


def _read_wiki_data(folder: Path, progress: Progress) -> Dataset:
    path = folder / "wikiData.mat"
    labels = np.concatenate([files.classes(path, f"L_{part}") for part in ("tr", "te")])
    return _wiki(path, labels - 1, (), None)


def _wiki(path: Path, labels: np.ndarray, label_names: tuple[str, ...], ids: list[str] | None) -> Dataset:
    views = {
        modality: [files.vectors(path, f"{letter}_{part}") for part in ("tr", "te")]
        for modality, letter in (("image", "I"), ("text", "T"))
    }
    vectors = {modality: np.concatenate(parts) for modality, parts in views.items()}
    return Dataset("wiki", vectors, labels, label_names, ids, n_train=len(views["image"][0]))


def _read_mirflickr(folder: Path, progress: Progress) -> Dataset:
    labels = files.classes(folder / "mirflickr25k-lall.mat", "LAll")
    return Dataset("mirflickr25k", files.vectors(folder / "mirflickr25k-yall.mat", "YAll"), labels)


def _read_scene15(folder: Path, progress: Progress) -> Dataset:
    path = folder / "Scene_15.mat"
    vectors = {f"view{number}": files.vectors(path, f"X{{{number}}}") for number in (1, 2, 3)}
    return Dataset("scene15", vectors, files.classes(path, "Y") - 1)


WIKI = DatasetInfo(
    name="wiki",
    title="Wikipedia featured articles, 2,866 pairs of image and text",
    home="http://www.svcl.ucsd.edu/projects/crossmodal/",
    licence="none stated; articles of Wikipedia are CC BY-SA; cite Rasiwasia and others, ACM Multimedia 2010",
    folder="wiki",
    layouts=(
        Layout(
            (
                DataFile(
                    "raw_features.mat", 1_075_232, "ca628f765a69575e168ab29eb97f5ade12fadf47b31de1328c7ff631c7f225ae"
                ),
                DataFile(_WIKI_LISTS[0], 155_153, "30c1ba8afbe90da5986de9b12496b6dd2e4680d3876b79ab7aae2e437d5819a3"),
                DataFile(_WIKI_LISTS[1], 49_494, "ec3123ee31cc89dd95fbeb23eb73b2ecfd1d8909bba863723471aad99408c1eb"),
                DataFile("categories.list", 75, "4929f3ee00e9de9ffe11f9ab18fc8919b0f6182cc801309409df2f2d05e2b0f5"),
            ),
            _read_wiki,
        ),
        Layout(
            (DataFile("wikiData.mat", 1_080_776, "915bad0fd08b6cdd6cb5ebd6c831787d70885b4c340f8c796e54752f03d9332c"),),
            _read_wiki_data,
        ),
    ),
    downloads=(
        Download(
            "http://www.svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip",
            ("raw_features.mat", *_WIKI_LISTS, "categories.list"),
        ),
    ),
)
MIRFLICKR = DatasetInfo(
    name="mirflickr25k",
    title="MIRFlickr-25K, tags and labels of 20,015 images",
    home="https://press.liacs.nl/mirflickr/",
    licence="research; the images are under the Creative Commons licences of their owners",
    folder="mirflickr25k",
    layouts=(
        Layout(
            (
                DataFile(
                    "mirflickr25k-yall.mat",
                    327_403,
                    "a53d2ba6a5f3672b5e747aaa8b76d4af6be568d300715c6910d8c67bdef55f7e",
                ),
                DataFile(
                    "mirflickr25k-lall.mat",
                    51_716,
                    "173eec1fb2603bb54c893467c127325556fbe5bc91dd7e647d136a8e4e9fd07d",
                ),
            ),
            _read_mirflickr,
        ),
    ),
    note="the .mat files are those of the paper on deep cross-modal hashing (Jiang and Li, CVPR 2017)",
)
SCENE15 = DatasetInfo(
    name="scene15",
    title="Scene-15, three views of 4,485 images",
    home="https://figshare.com/articles/dataset/15-Scene_Image_Dataset/7007177",
    licence="none stated; cite Lazebnik, Schmid and Ponce, CVPR 2006",
    folder="scene15",
    layouts=(
        Layout(
            (DataFile("Scene_15.mat", 3_384_483, "ec33b5e1f53eea04ccacc8b7bdfc6091ed490b04214eb41fd83c05a0a173221f"),),
            _read_scene15,
        ),
    ),
    note="Scene_15.mat, with the views X{1}, X{2}, X{3} and the classes Y, goes with papers on multi-view learning",
)

ALL = (WIKI, MIRFLICKR, SCENE15)
