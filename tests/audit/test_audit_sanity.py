"""The explainer held against networks with random weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from camgate import Classifier, Preprocessing
from camgate.audit import sanity
from camgate.audit.sanity import SEEDS, Sanity, check_sanity, randomise, spearman, ssim
from camgate.heatmaps.cases import Case
from camgate.heatmaps.explainers import Explainer
from camgate.heatmaps.methods import METHODS, Method, register
from camgate.models.builders import build

SIDE = 64
POLICY_LIMIT = 0.5


def images(count: int = 60) -> Tensor:
    """A bright square on noise, its place by image."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (count, 3, SIDE, SIDE), dtype=np.uint8)
    for number, (y, x) in enumerate(rng.integers(0, SIDE - 16, (count, 2))):
        pixels[number, :, y : y + 16, x : x + 16] = 200
    return torch.from_numpy(pixels)


@pytest.fixture(scope="module")
def model() -> Classifier:
    """Learns whether the square is red or blue."""
    torch.manual_seed(0)
    module = build("resnet_small", {"widths": [8, 16, 32], "blocks": [1, 1]}, 2)
    pixels = images(256)
    labels = torch.arange(256) % 2
    bright = pixels > 100
    pixels[:, 0][bright[:, 0] & (labels == 1)[:, None, None]] = 20
    pixels[:, 2][bright[:, 2] & (labels == 0)[:, None, None]] = 20
    optimiser = torch.optim.AdamW(module.parameters(), 3e-3)
    for _ in range(4):
        for chosen in torch.randperm(256).split(32):
            loss = nn.functional.cross_entropy(module(pixels[chosen].float() / 255), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return Classifier(
        module, ["red", "blue"], Preprocessing(size=(SIDE, SIDE), mean=(0, 0, 0), std=(1, 1, 1))
    )


@pytest.fixture
def blind() -> Iterator[str]:
    """A method that never looks at the model: the brightness of the image, as edge detectors do."""

    def brightness(case: Case) -> np.ndarray:
        pixels = case.images.float().mean(dim=1, keepdim=True)
        return nn.functional.adaptive_avg_pool2d(pixels, case.activations.shape[2:])[:, 0].numpy()

    register(Method("brightness", brightness, class_specific=False))
    yield "brightness"
    METHODS.pop("brightness")


def test_gradcam_depends_on_what_was_learnt(model: Classifier) -> None:
    found = check_sanity(model, images(), method="gradcam", layer="stage2")
    assert found.reason == "ok"
    assert len(found.per_seed) == SEEDS
    assert found.high is not None
    assert found.high < POLICY_LIMIT
    assert found.low <= found.similarity <= found.high  # type: ignore[operator]
    assert [step.layers for step in found.cascade] == sorted(step.layers for step in found.cascade)


def test_a_method_that_never_looks_at_the_model_scores_one(model: Classifier, blind: str) -> None:
    found = check_sanity(model, images(), method=blind, layer="stage2")
    assert found.similarity == pytest.approx(1.0)
    assert found.ssim == pytest.approx(1.0)
    assert found.low > POLICY_LIMIT  # type: ignore[operator]


def test_the_model_is_left_as_it_was(model: Classifier) -> None:
    before = copy.deepcopy(model.module.state_dict())
    state = torch.random.get_rng_state()
    check_sanity(model, images(), method="gradcam", layer="stage2")
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_same_seed_gives_the_same_answer(model: Classifier) -> None:
    first, again, other = (
        check_sanity(model, images(), method="gradcam", layer="stage2", seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.per_seed != other.per_seed


def test_too_few_images_are_not_evaluable(model: Classifier) -> None:
    assert check_sanity(model, images(49), method="gradcam", layer="stage2") == Sanity(
        images=49, method="gradcam", layer="stage2", reason="too_few_images"
    )


def test_where_random_maps_die_the_stage_before_is_looked_at(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sanity._RandomWeights.maps

    def dying(self: sanity._RandomWeights, *args: Tensor, **kwargs: int) -> np.ndarray:
        maps = real(self, *args, **kwargs)
        return maps * 0 if self._explainer._layer_name == "stage2" else maps

    monkeypatch.setattr(sanity._RandomWeights, "maps", dying)
    found = check_sanity(model, images(), method="gradcam", layer="stage2")
    assert (found.reason, found.layer, found.method) == ("ok", "stage1", "hirescam")
    monkeypatch.setattr(sanity, "_stage_before", lambda *_: None)
    assert check_sanity(model, images(), method="gradcam", layer="stage2").reason == "dead_maps"


def test_maps_that_are_known_are_not_made_again(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    own = sanity._maps(model, images(), "gradcam", "stage2")
    made = check_sanity(model, images(), method="gradcam", layer="stage2")
    monkeypatch.setattr(sanity, "_maps", None)
    assert check_sanity(model, images(), method="gradcam", layer="stage2", own=own) == made


def test_every_draw_begins_with_the_weights_of_the_model(model: Classifier) -> None:
    """What was drawn before leaves nothing behind: a draw gives what it gives in a fresh copy."""
    pictures, (_, targets) = images(), sanity._maps(model, images(), "gradcam", "stage2")
    with sanity._RandomWeights(model, "gradcam", "stage2") as used:
        used.maps(pictures, targets, layers=used.layers, seed=1)
        again = used.maps(pictures, targets, layers=1, seed=2)
    with sanity._RandomWeights(model, "gradcam", "stage2") as fresh:
        np.testing.assert_array_equal(again, fresh.maps(pictures, targets, layers=1, seed=2))


@pytest.mark.parametrize("layer", ["stage1", "stage2"])
def test_random_weights_bring_their_own_batch_statistics(model: Classifier, layer: str) -> None:
    """One pass gives the maps of two: statistics first, as in training, and then maps in evaluation mode."""
    pictures = images(sanity.BATCH)
    network = sanity._copy(model)
    randomise(sanity._layers(network.module), seed=3)
    twin = copy.deepcopy(network)
    norms = [part for part in twin.module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    cells = {}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
        norm.register_forward_pre_hook(
            lambda norm, inputs: cells.update({norm: inputs[0].numel() // inputs[0].shape[1]})
        )
    with torch.no_grad():
        twin.logits(pictures)
    for norm in norms:
        norm.running_var *= (cells[norm] - 1) / cells[norm]  # training keeps the unbiased variance
    expected, targets = sanity._maps(twin, pictures, "hirescam", layer)
    with (
        Explainer(network, layer=layer, method="hirescam") as explainer,
        sanity._statistics_of_the_batch(network.module),
    ):
        maps, _ = sanity._explained(explainer, pictures, targets)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert not any(part._forward_pre_hooks for part in network.module.modules())


def test_buffers_that_a_forward_pass_makes_are_no_hindrance() -> None:
    class Remembers(nn.Module):
        last: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 8, 8, 8)
            self.head = nn.Linear(8, 2)
            self.register_buffer("last", torch.zeros(0))
            self.register_buffer("cache", None)

        def forward(self, x: Tensor) -> Tensor:
            cells = self.body(x).relu()
            self.last = self.cache = cells.detach()
            return self.head(cells.mean(dim=(2, 3)))

    torch.manual_seed(0)
    model = Classifier(Remembers(), ["a", "b"], Preprocessing(size=(SIDE, SIDE)))
    found = check_sanity(model, images(), method="gradcam", layer="body")
    assert found.reason == "ok"


def test_weights_without_a_beginning_of_their_own_are_drawn_too() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.linspace(1, 2, 8)[None, :, None, None])

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    module = nn.Sequential(
        nn.Conv2d(3, 8, 8, 8), Scaled(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    model = Classifier(module, ["a", "b"], Preprocessing(size=(SIDE, SIDE)))
    network = sanity._copy(model)
    randomise(sanity._layers(network.module), seed=0)
    for ours, theirs in zip(network.module.parameters(), module.parameters(), strict=True):
        assert not torch.equal(ours, theirs)


def test_spearman_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 4, (5, 4, 3)).astype(float) for _ in range(2))
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(spearman(first, second), expected)


def test_ssim_of_a_map_with_itself_is_one_and_scale_does_not_matter() -> None:
    maps = np.random.default_rng(0).random((3, 8, 8))
    np.testing.assert_allclose(ssim(maps, 7 * maps), 1.0)
    assert (ssim(maps, maps[:, ::-1]) < 0.9).all()
