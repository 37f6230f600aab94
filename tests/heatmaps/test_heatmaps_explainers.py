"""Maps against pytorch-grad-cam's own output, and the promises about hooks, batches and modes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import (
    AblationCAM,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    ScoreCAM,
    ShapleyCAM,
    XGradCAM,
)
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError
from camgate.heatmaps.explainers import METHODS, Explainer
from camgate.heatmaps.methods import method as register
from camgate.models.classifier import Classifier

PEERS = {
    "gradcam": GradCAM,
    "hirescam": HiResCAM,
    "gradcam++": GradCAMPlusPlus,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
}
LOOKING = {"scorecam": ScoreCAM, "ablationcam": AblationCAM, "shapleycam": ShapleyCAM}
SIZE = 96


def classifier(name: str = "resnet18", size: int = SIZE) -> Classifier:
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, num_classes=3)
    return Classifier(module.eval(), ["a", "b", "c"], Preprocessing(size=(size, size)))


def pictures(count: int = 3, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    small = torch.randint(0, 256, (count, 3, 12, 12), dtype=torch.uint8, generator=generator)
    return torch.nn.functional.interpolate(small.float(), size=(size, size), mode="bilinear").to(torch.uint8)


@pytest.mark.parametrize("method", sorted(PEERS))
@pytest.mark.parametrize("layer", ["layer4", "layer3"])
def test_maps_equal_those_of_pytorch_grad_cam(method: str, layer: str) -> None:
    model = classifier()
    images, targets = pictures(), torch.tensor([2, 0, 1])
    other = copy.deepcopy(model)
    with PEERS[method](model=other.module, target_layers=[getattr(other.module, layer)]) as cam:
        batch = other.preprocessing.normalise(images)
        theirs = cam(input_tensor=batch, targets=[ClassifierOutputTarget(int(t)) for t in targets])
    with Explainer(model, layer=layer, method=method) as explainer:
        heat = explainer(images, targets)
    # their normalisation and up-sampling, applied to our raw maps
    ours = scale_cam_image(scale_cam_image(heat.maps.numpy(), (SIZE, SIZE)))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert heat.maps.shape == ((3, 3, 3) if layer == "layer4" else (3, 6, 6))
    torch.testing.assert_close(heat.logits, model.logits(images).detach())


@pytest.mark.parametrize("method", sorted(LOOKING))
def test_methods_for_looking_equal_those_of_pytorch_grad_cam(method: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, 4, 1), nn.Tanh(), nn.Conv2d(6, 40, 3, 2, 1), nn.ReLU()
    )  # more channels than go into one batch of perturbed images
    module.append(nn.Sequential(nn.Conv2d(40, 3, 6), nn.Flatten(), nn.Softplus(), nn.Linear(3, 3)))
    with torch.no_grad():
        module[-1][-1].bias.fill_(5.0)  # their ablation divides by the logit, ours does not
    model = Classifier(module.eval(), ["a", "b", "c"], Preprocessing(size=(48, 48)))
    images, targets = pictures(3, 48), torch.tensor([2, 0, 1])
    other = copy.deepcopy(model)
    with LOOKING[method](model=other.module, target_layers=[other.module[3]]) as cam:
        batch = other.preprocessing.normalise(images)
        theirs = cam(input_tensor=batch, targets=[ClassifierOutputTarget(int(t)) for t in targets])
    with Explainer(model, layer="3", method=method) as explainer:
        heat = explainer(images, targets)
    ours = scale_cam_image(scale_cam_image(heat.maps.numpy(), (48, 48)))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert not METHODS[method].gates


def test_eigencam_is_the_first_principal_component_and_ignores_the_class() -> None:
    model, images = classifier(), pictures()
    with Explainer(model, layer="layer3", method="eigencam") as explainer:
        maps = explainer(images, torch.tensor([0, 0, 0])).maps.numpy()
        np.testing.assert_array_equal(maps, explainer.maps_for(torch.tensor([2, 1, 2])).numpy())
    caught: list[Tensor] = []
    handle = model.module.layer3.register_forward_hook(lambda _, __, output: caught.append(output))
    with torch.no_grad():
        model.logits(images)
    handle.remove()
    for image, heat in zip(caught[0].double().numpy(), maps, strict=True):
        cells = image.reshape(len(image), -1).T
        _, vectors = np.linalg.eigh(np.cov(cells.T))
        projection = (cells - cells.mean(axis=0)) @ vectors[:, -1]
        sign = np.sign(projection[np.abs(projection).argmax()])
        expected = np.maximum(sign * projection, 0).reshape(heat.shape)
        np.testing.assert_allclose(heat, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert not METHODS["eigencam"].class_specific


def test_finercam_explains_the_class_against_those_most_like_it() -> None:
    model, images, targets = classifier(), pictures(), torch.tensor([2, 0, 1])
    with Explainer(model, layer="layer3", method="finercam") as explainer:
        maps = explainer(images, targets).maps
    layer: list[Tensor] = []
    handle = model.module.layer3.register_forward_hook(
        lambda _, __, output: layer.append(output.detach().requires_grad_()) or layer[-1]
    )
    logits = model.logits(images)
    handle.remove()
    for row, target in enumerate(targets.tolist()):
        likes = sorted(
            set(range(3)) - {target}, key=lambda n: abs((logits[row, n] - logits[row, target]).item())
        )
        weights = logits[row].softmax(dim=0)[likes]
        gaps = torch.stack([logits[row, target] - logits[row, like] for like in likes])
        objective = (weights * gaps).sum() / (weights.sum() + 1e-9)
        (gradient,) = torch.autograd.grad(objective, layer[0], retain_graph=True)
        expected = (gradient[row].mean(dim=(1, 2), keepdim=True) * layer[0][row]).sum(dim=0).relu()
        ours, wanted = maps[row] / maps[row].max(), expected / expected.max()
        torch.testing.assert_close(ours, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", ["eigencam", "eigengradcam", "finercam", *sorted(LOOKING)])
def test_a_map_for_looking_does_not_depend_on_its_batch_either(method: str) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    model = Classifier(module.eval(), ["a", "b", "c"], Preprocessing(size=(24, 24)))
    images = pictures(4, 24)
    with Explainer(model, layer="1", method=method) as explainer:
        together = explainer(images)
        for row in range(4):
            alone = explainer(images[row : row + 1], together.targets[row : row + 1]).maps[0]
            torch.testing.assert_close(together.maps[row], alone, rtol=1e-4, atol=1e-5)


def test_every_method_has_a_peer_in_this_test() -> None:
    assert set(METHODS) == set(PEERS) | {*LOOKING, "eigencam", "eigengradcam", "finercam"}


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "densenet121", "efficientnet_b0", "convnext_tiny"]
)
def test_a_map_does_not_depend_on_its_batch(name: str) -> None:
    model = classifier(name, 64)
    layer = "layer4" if name == "resnet18" else "features"
    images = pictures(4, 64)
    with Explainer(model, layer=layer, method="hirescam") as explainer:
        together = explainer(images)
        alone = [explainer(images[i : i + 1]).maps[0] for i in range(4)]
    for row, single in enumerate(alone):
        scale = float(single.abs().max()) or 1.0
        assert float((together.maps[row] - single).abs().max()) <= 1e-4 * scale


def test_other_targets_come_from_the_same_pass() -> None:
    model = classifier()
    images = pictures()
    with Explainer(model, layer="layer3", method="hirescam") as explainer:
        explainer(images)
        later = explainer.maps_for(torch.tensor([1, 1, 1]))
        direct = explainer(images, torch.tensor([1, 1, 1])).maps
    torch.testing.assert_close(later, direct)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.act(self.features(x))).flatten(1))


def test_an_in_place_relu_behind_the_layer_does_not_change_what_the_map_is_made_of() -> None:
    torch.manual_seed(3)
    module = InPlace().eval()
    model = Classifier(module, ["a", "b"], Preprocessing(size=(32, 32)))
    images, targets = pictures(2, 32), torch.tensor([0, 1])
    with Explainer(model, layer="features", method="hirescam") as explainer:
        maps = explainer(images, targets).maps
    # by hand: activation before the ReLU times the gradient that reaches it
    raw = module.features(model.preprocessing.normalise(images)).detach()
    gradient = module.head.weight[targets][:, :, None, None] * (raw > 0) / raw[0, 0].numel()
    torch.testing.assert_close(maps, (gradient * raw).sum(1).clamp(min=0).detach(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("broken", [False, True])
def test_everything_is_restored_whatever_happens(broken: bool) -> None:
    model = classifier()
    model.module.train()
    model.module.layer1.eval()
    model.module.fc.weight.requires_grad_(False)
    modes = {name: module.training for name, module in model.module.named_modules()}
    frozen = {name: parameter.requires_grad for name, parameter in model.module.named_parameters()}
    state = {name: value.clone() for name, value in model.module.state_dict().items()}

    def use() -> None:
        with Explainer(model, layer="layer4", method="gradcam") as explainer, torch.inference_mode():
            explainer(pictures())
            if broken:
                raise KeyboardInterrupt

    if broken:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        use()
    assert {name: module.training for name, module in model.module.named_modules()} == modes
    assert {name: p.requires_grad for name, p in model.module.named_parameters()} == frozen
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert not any(module._forward_hooks for module in model.module.modules())
    for name, value in model.module.state_dict().items():
        torch.testing.assert_close(value, state[name])


def test_a_network_that_reads_one_block_lights_up_there_and_a_silent_one_stays_dead() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.AvgPool2d(8)

        def forward(self, x: Tensor) -> Tensor:
            seen = self.features(x)[:, 0, 2, 5]
            return torch.stack([seen, -seen], dim=1)

    plain = Preprocessing(size=(64, 64), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    model = Classifier(Block(), ["on", "off"], plain)
    with Explainer(model, layer="features", method="hirescam") as explainer:
        maps = explainer(pictures(2, 64), torch.tensor([0, 1])).maps
    expected = torch.zeros(8, 8)
    expected[2, 5] = maps[0, 2, 5]
    assert maps[0, 2, 5] > 0
    torch.testing.assert_close(maps[0], expected)
    assert maps[1].abs().max() == 0


def test_nan_logits_are_counted() -> None:
    model = classifier()
    with torch.no_grad():
        model.module.fc.bias[0] = float("nan")
    with (
        pytest.raises(ModelError, match="3 of 3"),
        Explainer(model, layer="layer4", method="gradcam") as explainer,
    ):
        explainer(pictures())


@pytest.mark.parametrize(
    ("layer", "message"), [("layr4", "layer4"), ("", "no layer"), ("nothing_like_it_at_all", "no layer")]
)
def test_unknown_layers_offer_near_ones(layer: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Explainer(classifier(), layer=layer, method="gradcam")


@pytest.mark.parametrize("layer", ["fc", "avgpool"])
def test_layers_without_a_map_are_refused(layer: str) -> None:
    model = classifier()
    with (
        pytest.raises(ModelError, match="more than one"),
        Explainer(model, layer=layer, method="gradcam") as explainer,
    ):
        explainer(pictures())


def test_a_layer_that_runs_twice_is_ambiguous() -> None:
    model = classifier()
    with (
        pytest.raises(ModelError, match="2 times"),
        Explainer(model, layer="layer4.1.relu", method="gradcam") as explainer,
    ):
        explainer(pictures())


def test_unknown_methods_list_those_there_are() -> None:
    with pytest.raises(InputError, match="gradcam"):
        Explainer(classifier(), layer="layer4", method="gradcm")


@pytest.mark.parametrize("method", sorted(PEERS))
def test_eight_images_at_once_give_the_maps_of_eight_one_by_one(method: str) -> None:
    model = classifier(size=128)
    model.module.train()  # batch statistics would couple the images
    images = pictures(8, 128)
    with Explainer(model, layer="layer3", method=method) as explainer:
        together = explainer(images)
        alone = torch.cat(
            [
                explainer(image[None], target[None]).maps
                for image, target in zip(images, together.targets, strict=True)
            ]
        )
    scale = alone.amax(dim=(1, 2), keepdim=True)
    assert (scale > 0).all()
    assert ((together.maps - alone).abs() / scale).max() <= 1e-5


class Shared(nn.Module):
    """What goes into the layer comes out of it as the same memory, and is overwritten afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=8, padding=1)
        self.features = nn.Identity()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.features(x)
        logits = self.head(y.mean(dim=(2, 3)))
        x.zero_()
        return logits


def test_a_layer_that_shares_memory_with_its_input_keeps_its_activation() -> None:
    torch.manual_seed(0)
    model = Classifier(Shared(), ["a", "b"], Preprocessing(size=(32, 32)))
    images, targets = pictures(2, 32), torch.tensor([1, 0])
    with Explainer(model, layer="features", method="hirescam") as explainer:
        maps = explainer(images, targets).maps
    raw = model.module.conv(model.preprocessing.normalise(images)).detach()
    expected = (model.module.head.weight[targets].detach()[:, :, None, None] * raw / 16).sum(1).clamp(min=0)
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected, atol=1e-6, rtol=1e-4)


class Frozen(nn.Module):
    """A backbone that the network itself runs without gradients, as linear probes do."""

    def __init__(self, *, head_too: bool, mode: type) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, stride=8, padding=1)
        self.head = nn.Linear(4, 2)
        self.head_too = head_too
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        with self.mode():
            features = self.backbone(x)
            if self.head_too:
                return self.head(features.mean(dim=(2, 3)))
        return self.head(features.mean(dim=(2, 3)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_backbone_without_gradients_is_explained(mode: type) -> None:
    torch.manual_seed(0)
    model = Classifier(Frozen(head_too=False, mode=mode), ["a", "b"], Preprocessing(size=(32, 32)))
    for parameter in model.module.backbone.parameters():
        parameter.requires_grad_(False)
    with Explainer(model, layer="backbone", method="gradcam") as explainer:
        found = explainer(pictures(2, 32), torch.tensor([0, 1]))
        gradient = explainer.gradients(torch.tensor([0, 1]))
    torch.testing.assert_close(gradient.mean(dim=(2, 3)), model.module.head.weight.detach() / 16)
    assert found.maps.shape == (2, 4, 4)


def test_a_network_without_any_gradient_is_refused() -> None:
    model = Classifier(Frozen(head_too=True, mode=torch.no_grad), ["a", "b"], Preprocessing(size=(32, 32)))
    with (
        pytest.raises(ModelError, match="no_grad"),
        Explainer(model, layer="backbone", method="gradcam") as explainer,
    ):
        explainer(pictures(2, 32))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_callers_without_gradients_get_the_same_maps(context: type) -> None:
    model = classifier()
    images = pictures()
    with Explainer(model, layer="layer3", method="hirescam") as explainer:
        expected = explainer(images)
        with context():
            found = explainer(pictures())
            later = explainer.maps_for(found.targets)
            assert not torch.is_grad_enabled()
    torch.testing.assert_close(found.maps, expected.maps)
    torch.testing.assert_close(later, expected.maps)


def test_gradients_that_the_caller_has_collected_stay() -> None:
    model = classifier()
    model.logits(pictures()).sum().backward()
    before = {name: parameter.grad.clone() for name, parameter in model.module.named_parameters()}
    with Explainer(model, layer="layer4", method="gradcam") as explainer:
        explainer(pictures())
    for name, parameter in model.module.named_parameters():
        torch.testing.assert_close(parameter.grad, before[name], rtol=0, atol=0)


def test_a_failing_forward_pass_leaves_nothing_behind() -> None:
    class Failing(InPlace):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise KeyboardInterrupt

    model = Classifier(Failing(), ["a", "b"], Preprocessing(size=(32, 32)))
    with pytest.raises(KeyboardInterrupt), Explainer(model, layer="features", method="gradcam") as explainer:
        explainer(pictures(2, 32))
    assert model.module.training
    assert all(parameter.requires_grad for parameter in model.module.parameters())
    assert not any(module._forward_hooks for module in model.module.modules())


@pytest.mark.parametrize(
    "targets", [torch.tensor([0, 1]), torch.tensor([0, 1, 3]), torch.tensor([0, -1, 1]), torch.zeros(3)]
)
def test_wrong_targets_are_refused(targets: Tensor) -> None:
    with (
        pytest.raises(InputError, match="`targets`"),
        Explainer(classifier(), layer="layer4", method="gradcam") as explainer,
    ):
        explainer(pictures(), targets)


def test_an_explainer_works_only_inside_its_block() -> None:
    explainer = Explainer(classifier(), layer="layer4", method="gradcam")
    with pytest.raises(RuntimeError, match="with"):
        explainer(pictures())
    with explainer:
        with pytest.raises(RuntimeError, match="in use"), explainer:
            pass
        explainer(pictures())
    with pytest.raises(RuntimeError, match="first"):
        explainer.maps_for(torch.tensor([0, 0, 0]))


def test_tokens_are_not_a_map() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 8, stride=8)
            self.norm = nn.LayerNorm(8)
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))

    model = Classifier(Tokens(), ["a", "b"], Preprocessing(size=(32, 32)))
    with Explainer(model, layer="patches", method="gradcam") as explainer:
        assert explainer(pictures(2, 32)).maps.shape == (2, 4, 4)
    with (  # one layer of tokens makes no transformer: it may be a flattened map of anything
        pytest.raises(
            ModelError, match=r"layer 'norm' gives \(2, 16, 8\); a heatmap needs more than one cell"
        ),
        Explainer(model, layer="norm", method="gradcam") as explainer,
    ):
        explainer(pictures(2, 32))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GradCAM", "'gradcam'"),
        ("grad_cam_plus_plus", r"'gradcam\+\+'"),
        ("EigenCam", "'eigencam'"),
        ("occlusion", "There are: gradcam"),
    ],
)
def test_unknown_methods_are_explained(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        Explainer(classifier(), layer="layer4", method=name)


def test_a_method_of_ones_own_is_one_decorated_function() -> None:
    @register("mean-activation")
    def maths(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        return activations.mean(axis=1)

    try:
        with Explainer(classifier(), layer="layer4", method="mean-activation") as explainer:
            assert explainer(pictures()).maps.shape == (3, 3, 3)
        with pytest.raises(ValueError, match="taken"):
            register("gradcam")(maths)
    finally:
        del METHODS["mean-activation"]
