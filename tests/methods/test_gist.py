"""GIST: equal to a slow transcription of its equations and to published descriptors; an index made with an encoder."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb import registry
from hashdb.errors import ArgumentError, InputFileError, UnknownMethodError


def gist(images):
    return registry.get("gist", kind="encoder").encode_items(list(images), {})


def mirrored(image, before, after):
    """Mirror an image at its edges pixel by pixel, the edge pixel twice."""

    def inside(at, size):
        at %= 2 * size
        return at if at < size else 2 * size - 1 - at

    height, width = image.shape
    rows = [inside(at, height) for at in range(-before, height + after[0])]
    columns = [inside(at, width) for at in range(-before, width + after[1])]
    return np.array([[image[row, column] for column in columns] for row in rows])


def oracle(image):
    """Write the equations down for one image, in float64 and without a shortcut."""
    if image.ndim == 3:
        image = image @ np.array([0.299, 0.587, 0.114])
    height, width = image.shape
    u = mirrored(np.log(1.0 + image), 5, (5, 5))
    side = max(u.shape) + max(u.shape) % 2
    u = mirrored(u, 0, (side - u.shape[0], side - u.shape[1]))
    f = np.array([k if k < side / 2 else k - side for k in range(side)], float)
    low = np.exp(-(f[:, None] ** 2 + f[None] ** 2) * np.log(2) / 16)
    v = u - np.fft.ifft2(np.fft.fft2(u) * low).real
    v = v / (0.2 + np.sqrt(np.abs(np.fft.ifft2(np.fft.fft2(v**2) * low))))
    p = mirrored(v[5 : 5 + height, 5 : 5 + width], 16, (16, 16))
    fy, fx = np.meshgrid(np.fft.fftfreq(p.shape[0]), np.fft.fftfreq(p.shape[1]), indexing="ij")
    found = []
    for i in range(4):
        for j in range(8):
            angle = np.angle(np.exp(1j * (np.arctan2(fy, fx) + np.pi * j / 8)))
            # On the negative axis -pi and pi are one angle, and the descriptor takes pi.
            gain = np.exp(-3.5 * (np.hypot(fy, fx) / (0.3 / 1.85**i) - 1) ** 2 - 2 * np.pi * angle**2)
            response = np.abs(np.fft.ifft2(np.fft.fft2(p) * gain))[16 : 16 + height, 16 : 16 + width]
            for column in range(4):
                for row in range(4):
                    block = response[
                        row * height // 4 : (row + 1) * height // 4, column * width // 4 : (column + 1) * width // 4
                    ]
                    found.append(block.mean())
    return np.array(found)


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 32), (9, 8, 3), (24, 45, 3), (51, 30)])
def test_descriptors_are_those_of_the_equations(shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    images[1] = images[1] // 16 * 16 + 3
    found = gist(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [oracle(image) for image in images], rtol=2e-5, atol=2e-7)


def test_cifar10_has_the_descriptors_that_were_published(data):
    images = np.load(data / "cifar10" / "test_images.npy", mmap_mode="r")[::20]
    stored = np.load(data / "cifar10" / "gist512_float16.npy", mmap_mode="r")[50_000:][::20]
    found = gist(images)
    # Half a unit of float16, and what the stored ones lost in float32 before that.
    allowed = np.spacing(stored).astype(np.float64) / 2 + 2e-6
    assert (np.abs(found.astype(np.float64) - stored) <= allowed).all()
    assert (found.astype(np.float16) == stored).mean() > 0.995


def test_a_descriptor_is_that_of_its_image_alone():
    images = np.random.default_rng(1).integers(0, 256, (23, 20, 31, 3), dtype=np.uint8)
    together = gist(images)
    alone = np.concatenate([gist(images[i : i + 1]) for i in range(len(images))])
    assert (together == alone).all()
    assert (gist(images[::-1]) == together[::-1]).all()


def test_threads_change_nothing(monkeypatch):
    images = np.random.default_rng(2).integers(0, 256, (17, 32, 32), dtype=np.uint8)
    monkeypatch.setenv("HASHDB_NUM_THREADS", "1")
    one = gist(images)
    monkeypatch.setenv("HASHDB_NUM_THREADS", "5")
    assert (gist(images) == one).all()


def test_a_grating_answers_in_the_filter_of_its_frequency_and_direction():
    y, x = np.mgrid[:64, :64]
    for scale, frequency in ((0, 0.3), (1, 0.3 / 1.85), (2, 0.3 / 1.85**2)):
        for orientation in (0, 2, 4, 6):
            # Filter j looks at the angle -pi j / 8, or at the one opposite, which a real image has as well.
            angle = -np.pi * orientation / 8
            wave = np.cos(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y))
            image = np.rint(127.5 + 100 * wave).astype(np.uint8)
            energies = gist(image[None]).reshape(4, 8, 16).mean(axis=2)
            assert np.unravel_index(energies.argmax(), energies.shape) == (scale, orientation)


def test_blocks_stand_column_after_column():
    image = np.full((64, 64), 128, np.uint8)
    image[16:32, 48:] = np.random.default_rng(3).integers(0, 256, (16, 16))
    energies = gist(image[None]).reshape(32, 4, 4).mean(axis=0)
    assert np.unravel_index(energies.argmax(), (4, 4)) == (3, 1), "column 3, row 1"


def test_flat_images_have_no_energy():
    for value in (0, 7, 255):
        found = gist(np.full((1, 16, 16, 3), value, np.uint8))
        assert np.abs(found).max() < 1e-12


def test_nothing_gives_nothing():
    assert gist([]).shape == (0, 512)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([np.zeros((32, 32, 4), np.uint8)], r"item 0 is uint8 of shape \(32, 32, 4\), expected an image: uint8"),
        ([np.zeros((32, 32), np.float32)], r"item 0 is float32 of shape \(32, 32\), expected an image"),
        (["photo.jpg"], r"item 0 is a str, expected an image"),
        ([np.zeros((32, 3), np.uint8)], r"image 0 has shape \(32, 3\), expected at least 8 x 8 pixels; one image"),
        ([np.zeros(32, np.uint8)], r"shape \(32,\), expected at least"),
        (
            [np.zeros((32, 32), np.uint8), np.zeros((32, 31), np.uint8)],
            r"image 1 has shape \(32, 31\), expected height and width \(32, 32\) as the first",
        ),
    ],
)
def test_what_is_no_image_is_named(items, message):
    with pytest.raises(ArgumentError, match=message):
        gist(items)


@pytest.fixture(scope="module")
def images():
    """60 images of 16 x 16 pixels: waves of six kinds under noise."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:16, :16]
    waves = [np.cos(2 * np.pi * 0.2 * (np.cos(a) * x + np.sin(a) * y)) for a in np.pi * np.arange(6) / 6]
    noisy = [127 + 80 * waves[i % 6] + 10 * rng.standard_normal((16, 16)) for i in range(60)]
    return np.clip(np.repeat(np.array(noisy)[..., None], 3, axis=3), 0, 255).astype(np.uint8)


def test_an_index_takes_images_ever_after(images, path):
    with hashdb.build(path, images[:50], "lsh", 32, encoder="gist") as index:
        assert index.info()["encoder"] == "gist"
        assert index.info()["dim"] == 512
    with hashdb.open(path) as index:
        assert (index.encode(images) == index.encode(gist(images))).all(), "images, and the vectors made of them"
        assert index.query(images[:50], 1).distances.max() == 0
        assert index.add(images[50:]).tolist() == list(range(50, 60))
        found = index.query(images, 5)
        kinds = np.arange(60) % 6
        assert (kinds[found.ids] == kinds[:, None]).mean() > 0.9
        assert 0 in index.query_radius(images[:1], 0).ids


def test_rescoring_by_stored_vectors_works_on_images(images, path):
    with hashdb.build(path, images, "lsh", 16, encoder="gist", store_vectors="float32", metric="l2") as index:
        found = index.query(images, 3, rescore=5)
    vectors = gist(images).astype(np.float64)
    exact = np.argsort(((vectors[:, None] - vectors) ** 2).sum(-1), axis=1, kind="stable")[:, :1]
    assert (found.ids[:, :1] == exact).all()
    np.testing.assert_allclose(found.distances[:, 0], 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["npy", "npz", "idx", "h5", "zarr"])
def test_files_of_images_are_read(images, path, tmp_path, kind):
    grey = images[..., 0]
    file = tmp_path / f"images.{kind}"
    if kind == "npy":
        np.save(file, images)
    elif kind == "npz":
        np.savez_compressed(file, images=images, vectors=np.zeros((60, 3)), labels=np.arange(60))
    elif kind == "idx":
        file.write_bytes(bytes([0, 0, 8, 3]) + np.array(grey.shape, ">u4").tobytes() + grey.tobytes())
    elif kind == "h5":
        h5py = pytest.importorskip("h5py", reason="h5py comes with hashdb[formats]")
        with h5py.File(file, "w") as store:
            store["images"], store["labels"] = images, np.arange(60)
    else:
        import zarr

        zarr.create_group(file).create_array("images", data=images)
    with hashdb.build(path, file, "lsh", 32, encoder="gist") as index:
        expected = index.encode(gist(grey if kind == "idx" else images))
        assert (np.concatenate([codes for _, codes in index.codes()]) == expected).all()
        assert (index.encode(file) == expected).all()


def test_the_model_of_another_index_brings_its_encoder(images, path, tmp_path):
    with hashdb.build(path, images, "lsh", 32, encoder="gist") as first:
        with hashdb.build(tmp_path / "b.hashdb", images[:9], model=first.model) as second:
            assert len(second) == 9
        with hashdb.build(tmp_path / "c.hashdb", gist(images), model=first.model) as third:
            assert len(third) == 60, "vectors that the encoder made are as good"
        with pytest.raises(ArgumentError, match="fitted already, so encoder"):
            hashdb.build(tmp_path / "d.hashdb", images, model=hashdb.fit(gist(images), "lsh", 8), encoder="gist")


def test_bad_builds_leave_nothing(images, path):
    flat = images.reshape(60, -1)
    for wrong, options, error, message in (
        (flat, {"encoder": "gist"}, ArgumentError, r"rows of 768 uint8, expected items for encoder gist: images as"),
        (images, {}, InputFileError, r"shape \(60, 16, 16, 3\).*encoder"),
        (images, {"encoder": "gits"}, UnknownMethodError, "did you mean 'gist'"),
        (images, {"encoder": "lsh"}, UnknownMethodError, "is of kind method, expected an encoder"),
        (images, {"encoder": 3}, ArgumentError, "encoder is 3, expected the name"),
        (images, {"encoder": "gist", "params": {"encoder.scales": 4}}, ArgumentError, "'scales' is unknown"),
        ({"image": flat, "text": flat}, {"encoder": "gist"}, ArgumentError, "got several modalities"),
    ):
        with pytest.raises(error, match=message):
            hashdb.build(path, wrong, "lsh", 32, **options)
        assert not path.exists()


def test_an_index_without_an_encoder_refuses_images(images, path):
    with (
        hashdb.build(path, gist(images), "lsh", 32) as index,
        pytest.raises(InputFileError, match=r"shape \(60, 16, 16, 3\)"),
    ):
        index.query(images)


def test_images_of_another_width_than_the_vectors_are_told_apart(images, path):
    with (
        hashdb.build(path, images, "lsh", 32, encoder="gist") as index,
        pytest.raises(ArgumentError, match="dim 768, expected dim 512"),
    ):
        index.query(images.reshape(60, -1))


def test_without_the_encoder_vectors_still_work(images):
    from hashdb.model import Encoder

    fitted = hashdb.fit(gist(images), "lsh", 16).with_encoder(Encoder.asked("gist", {}))
    document, arrays = fitted.to_document()
    assert document["encoder"]["name"] == "gist"
    gone = hashdb.Model.from_document({**document, "encoder": {**document["encoder"], "name": "gone"}}, arrays)
    assert (gone.encode(gist(images)) == fitted.encode(gist(images))).all()
    with pytest.raises(UnknownMethodError, match=r"encoder 'gone' is not installed; .* give vectors instead"):
        gone.encoder(list(images))
