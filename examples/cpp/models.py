"""What the C++ example classifies: two programs, images, and what PyTorch says they show.

    python examples/cpp/models.py DIRECTORY

writes ``digits.pte``, a small CNN trained on scikit-learn's handwritten digits, with ten test
images that it did not see (``digit-<n>.pgm``); ``mobilenet_v2.pte`` (random weights: the shapes and
the work are MobileNetV2's, the classes mean nothing), with ``photo.ppm``; and ``expected.txt``,
lines of an image's name and its class in eager PyTorch.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
from executorch.exir import to_edge_transform_and_lower  # noqa: E402
from torch import nn  # noqa: E402

from executorch_coreml import CoreMLPartitioner  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))

from architectures import DigitsCNN, build  # noqa: E402
from digits import digits, train  # noqa: E402

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def lower(model: nn.Module, image: torch.Tensor) -> bytes:
    edge = to_edge_transform_and_lower(
        torch.export.export(model, (image,)),
        partitioner=[CoreMLPartitioner(lower_full_graph=True)],
    )
    return bytes(edge.to_executorch().buffer)


def netpbm(image: torch.Tensor) -> bytes:
    """A binary PGM or PPM of a picture from 0 to 1, [1 or 3, height, width]."""
    channels, height, width = image.shape
    pixels = (image * 255).round().byte().permute(1, 2, 0).contiguous()
    kind = {1: "P5", 3: "P6"}[channels]
    return f"{kind}\n{width} {height}\n255\n".encode() + bytes(pixels.numpy().tobytes())


@torch.inference_mode()
def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    expected = []

    with torch.inference_mode(mode=False):
        classifier = train(DigitsCNN, 4, iter)
    _, _, images, labels = digits()
    (directory / "digits.pte").write_bytes(lower(classifier, images[:1]))
    for digit in range(10):
        image = images[labels == digit][0]
        (directory / f"digit-{digit}.pgm").write_bytes(netpbm(image[:1]))
        expected.append(f"digit-{digit}.pgm {classifier(image[None]).argmax().item()}")

    mobilenet, (photo,) = build("MobileNetV2")
    (directory / "mobilenet_v2.pte").write_bytes(lower(mobilenet, photo))
    (directory / "photo.ppm").write_bytes(netpbm(photo[0] * DEVIATION + MEAN))
    expected.append(f"photo.ppm {mobilenet(photo).argmax().item()}")

    (directory / "expected.txt").write_text("\n".join(expected) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
