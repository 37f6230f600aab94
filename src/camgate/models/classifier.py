"""An image classifier as camgate audits it: the module and everything its numbers depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError, ModelError, some_of
from camgate.models.builders import build
from camgate.models.checks import check_images, checked_classes, checked_module
from camgate.models.heads import HEADS, Head, find_head, tensor_of, to_logits
from camgate.models.memory import takes_channels_last
from camgate.models.storage import (
    SPEC_FILE,
    Spec,
    files_digest,
    read_folder,
    restore_state,
    to_files,
    write_folder,
)


class Classifier:
    """A module `(B, C, h, w) -> (B, classes)` with its classes and its preprocessing.

    The module may also return `(B, 1)`, one sigmoid for two classes, or probabilities, see `head`; and an
    object or a tuple that holds the logits, as Hugging Face's classifiers do.

    Attributes:
        module: the network; kept as it is, on its device, in its mode. Of a compiled module or a
            `DataParallel`, what it wraps.
        classes: name of each output, in order.
        preprocessing: how an image becomes the module's input.
        target_layer: dotted name of the layer whose maps are audited; None lets the audit choose by its rule.
        given_head: what the outputs are, where that was given and is not to be found out, see `head`.
        builder: name by which `camgate.models.builders.build` makes the module again.
        builder_args: arguments of that builder, JSON values only.
        model_uri: where the classifier was loaded from in a model registry, if it was.
    """

    def __init__(
        self,
        module: nn.Module,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        *,
        target_layer: str | None = None,
        builder: str | None = None,
        builder_args: Mapping[str, Any] | None = None,
        model_uri: str | None = None,
        source_digest: str | None = None,
        head: Head | None = None,
    ) -> None:
        """Check the parts and keep them.

        Raises:
            TypeError: `module` is no nn.Module, or `preprocessing` no Preprocessing.
            ModelError: fewer than two classes, an empty or a repeated one; an unknown `head`; or a scripted,
                traced or exported module.
        """
        module = checked_module(module)
        if not isinstance(preprocessing, Preprocessing):
            raise TypeError(f"`preprocessing` must be a Preprocessing, got {type(preprocessing).__name__}")
        if head is not None and head not in HEADS:
            raise ModelError(f"`head` must be one of {', '.join(HEADS)}, got {head!r}")
        self.module = module
        self.given_head = head
        self._found_head: Head | None = None
        self._faster_format: bool | None = None
        self.classes = checked_classes(classes)
        self.preprocessing = preprocessing
        self.target_layer = target_layer
        self.builder = builder
        self.builder_args: dict[str, Any] = dict(builder_args or {})
        self.model_uri = model_uri
        self.source_digest = source_digest

    def __repr__(self) -> str:
        what = self.builder or type(self.module).__name__
        names = some_of([repr(name) for name in self.classes])
        return f"Classifier({what}, classes=[{names}], size={tuple(self.preprocessing.size)})"

    @property
    def device(self) -> torch.device:
        """Device of the module's first parameter or buffer."""
        tensor = next(chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def takes_channels_last(self) -> bool:
        """Whether batches may have their channels last in memory; found once, by noise, on a CPU.

        Raises:
            ModelError: the module fails on images of the preprocessing's size.
        """
        if self._faster_format is None:
            noise = self._noise()
            with evaluation_mode(self.module), _explained(tuple(noise.shape)):
                self._faster_format = takes_channels_last(self.module, self._inputs(noise), self.classes)
        return self._faster_format

    @takes_channels_last.setter
    def takes_channels_last(self, known: bool) -> None:
        self._faster_format = known

    @property
    def head(self) -> Head:
        """What the module's outputs are: as given, else found once by a forward pass of noise.

        Raises:
            ModelError: the outputs are no classification of exclusive classes.
        """
        if self.given_head is not None:
            return self.given_head
        if self._found_head is None:
            noise = self._noise()
            with evaluation_mode(self.module), _explained(tuple(noise.shape)):
                self._found_head = find_head(self.module, self._inputs(noise), self.classes)
        return self._found_head

    @property
    def head_in_words(self) -> str | None:
        """What a reader of heatmaps must know of the outputs; None for logits of each class."""
        low, high = self.classes[0], self.classes[-1]
        if self.head == "logits":
            return None
        if self.head == "probabilities":
            return "The model returns probabilities; heatmaps explain their logarithm."
        return (
            f"The model has one output, for {high!r}: a heatmap of {high!r} shows what raises it, one of "
            f"{low!r} what lowers it."
        )

    @property
    def source_digest(self) -> str | None:
        """Digest of the logged model that this one was loaded from, if it was."""
        return self._source_digest

    @source_digest.setter
    def source_digest(self, digest: str | None) -> None:
        self._source_digest = digest
        # What the digest vouches for: a module changed afterwards is no longer that logged model.
        self._vouched_for = None if digest is None else self._content_digest()

    def logits(self, images: Tensor, *, channels_last: bool | None = None) -> Tensor:
        """Outputs before softmax, with their graph where gradients are enabled.

        Args:
            images: (B, C, h, w) uint8, at the preprocessing's size, on any device.
            channels_last: hand the batch to the module with channels last in memory, which makes convolutions
                on a CPU faster and changes outputs in the last digits only. None: where no gradient can be
                asked for. Never where convolutions are to be differentiated, see `_inputs`.

        Returns:
            (B, classes) float32 on the module's device. NaN and infinity are passed on as they are.

        Raises:
            InputError: images of another type or shape.
            ModelError: the module fails on them, or returns something else than (B, classes).
        """
        check_images(images, self.preprocessing.channels)
        head = self.head
        faster = not torch.is_grad_enabled() if channels_last is None else channels_last
        faster = faster and self.device.type == "cpu" and self.takes_channels_last
        batch = self._inputs(images, channels_last=faster)
        with _explained(tuple(batch.shape)):
            outputs = self.module(batch)
        return to_logits(tensor_of(outputs, count=len(images), classes=self.classes), head)

    def _inputs(self, images: Tensor, *, channels_last: bool = False) -> Tensor:
        # Plain memory wherever a backward pass may follow: the channels_last kernels of torch 2.14.1 corrupt
        # the heap in the backward pass of small networks on CPUs with AVX-512.
        memory = torch.channels_last if channels_last else torch.contiguous_format
        moved = images.to(self.device).contiguous(memory_format=memory)
        return self.preprocessing.normalise(moved).to(_floating_type(self.module))

    def _noise(self) -> Tensor:
        shape = (2, self.preprocessing.channels, *self.preprocessing.size)
        chance = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=chance)

    def probabilities(self, images: Tensor, batch_size: int = 64) -> npt.NDArray[np.float32]:
        """Softmax of the logits, in evaluation mode and without gradients.

        Args:
            images: (N, C, h, w) uint8.
            batch_size: images per forward pass.

        Returns:
            (N, classes) float32; the module's train/eval mode is as before.
        """
        if batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1, got {batch_size}")
        with evaluation_mode(self.module), torch.inference_mode():
            parts = [
                self.logits(part).softmax(dim=1).cpu()
                for part in torch.split(images, batch_size)
                if len(part)
            ]
        if not parts:
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        result: npt.NDArray[np.float32] = torch.cat(parts).numpy()
        return result

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors`` and ``classifier.json`` into `folder`, which is made if absent.

        A classifier that was saved there before is replaced; other files are left alone.

        Raises:
            ModelError: there is no builder to rebuild the module with, or something in it cannot be stored.
        """
        if self.builder is None:
            raise ModelError(
                "this classifier has no `builder`, so what is saved could not be rebuilt: create it with "
                'Classifier(..., builder="package.module:callable", builder_args={...}), where the callable '
                "takes `num_classes` and returns the module"
            )
        return write_folder(Path(folder), self._files())

    @classmethod
    def load(cls, folder: str | Path, *, allow_code: bool = False) -> Classifier:
        """Read what `save` wrote. Nothing is unpickled.

        Args:
            folder: holds ``model.safetensors`` and ``classifier.json``.
            allow_code: also when the builder is an import path, whose code then runs.

        Returns:
            The classifier on the CPU, in evaluation mode, its weights contiguous.

        Raises:
            ModelError: names the file that is missing, truncated, changed or does not fit the module.
        """
        spec, tensors, weights = read_folder(Path(folder))
        with torch.random.fork_rng(devices=[]):  # random first weights must not disturb the caller's seed
            try:
                module = build(
                    spec.builder or "", spec.builder_args, len(spec.classes), allow_code=allow_code
                )
            except ModelError as error:
                raise ModelError(f"{Path(folder) / SPEC_FILE}: {error}") from error
        restore_state(module, tensors, source=str(weights))
        module = module.eval()
        return cls(
            module,
            spec.classes,
            spec.preprocessing,
            target_layer=spec.target_layer,
            builder=spec.builder,
            builder_args=spec.builder_args,
            head=spec.head,
        )

    @classmethod
    def from_mlflow(
        cls,
        uri: str,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        allow_pickle: bool = False,
        allow_code: bool = False,
    ) -> Classifier:
        """Load a model from MLflow, see `camgate.registry.flavor.load_classifier`."""
        from camgate.registry.flavor import load_classifier

        loaded: Classifier = load_classifier(
            uri,
            classes=classes,
            preprocessing=preprocessing,
            allow_pickle=allow_pickle,
            allow_code=allow_code,
        )
        return loaded

    def digest(self) -> str:
        """SHA-256 (hex) that names this classifier.

        That of the logged model where it was loaded from one and is unchanged since (`source_digest`); else
        over the sorted (path, SHA-256) of the files that `save` writes. Device and memory format do not
        matter.
        """
        content = self._content_digest()
        if self._source_digest is not None and content == self._vouched_for:
            return self._source_digest
        return content

    def _content_digest(self) -> str:
        return files_digest(self._files())

    def _files(self) -> dict[str, bytes]:
        spec = Spec.model_construct(
            builder=self.builder,
            builder_args=self.builder_args,
            classes=self.classes,
            preprocessing=self.preprocessing,
            target_layer=self.target_layer,
            head=self.given_head,
        )
        return to_files(spec, self.module)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put `module` into evaluation mode; every submodule's own flag is restored whatever happens."""
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in flags:
            part.training = training


@contextmanager
def _explained(shape: tuple[int, ...]) -> Iterator[None]:
    """What a network says of inputs that it cannot take, as a ModelError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ModelError(f"the model fails on images of shape {shape}: {error}") from error


def _floating_type(module: nn.Module) -> torch.dtype:
    """The type that the module computes in: that of its first floating parameter."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
