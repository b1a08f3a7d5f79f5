"""Small vision models after their papers, which transformers does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_norm(
    inside: int, out: int, kernel: int, act: nn.Module, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), act)


class Excite(nn.Module):
    """Squeeze-and-excitation with a hard sigmoid (arXiv:1905.02244, figure 4)."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width // 4, 1), nn.ReLU(),
            nn.Conv2d(width // 4, width, 1), nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


class InvertedResidual(nn.Module):
    def __init__(self, inside: int, wide: int, out: int, kernel: int, stride: int, act: nn.Module):
        super().__init__()
        self.block = nn.Sequential(
            conv_norm(inside, wide, 1, act),
            conv_norm(wide, wide, kernel, act, stride, groups=wide),
            Excite(wide),
            conv_norm(wide, out, 1, nn.Identity()),
        )
        self.adds = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.adds else self.block(x)


class MobileNetV3(nn.Module):
    """The block kinds of MobileNetV3-Small (arXiv:1905.02244, table 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(3, 16, 3, nn.Hardswish(), stride=2),
            InvertedResidual(16, 16, 16, 3, 2, nn.ReLU()),
            InvertedResidual(16, 48, 24, 5, 2, nn.Hardswish()),
            InvertedResidual(24, 64, 24, 5, 1, nn.Hardswish()),
            conv_norm(24, 64, 1, nn.Hardswish()),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classify = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


class UNet(nn.Module):
    """U-Net of two levels (arXiv:1505.04597); one goes up by a transposed conv, one bilinearly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bottom = (
            self._twice(*widths) for widths in ((3, 8), (8, 16), (16, 32))
        )
        self.rise = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.grow = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(16, 8, 1)
        )
        self.third, self.fourth = self._twice(32, 16), self._twice(16, 8)
        self.classify = nn.Conv2d(8, 3, 1)

    @staticmethod
    def _twice(inside: int, out: int) -> nn.Sequential:
        act = nn.ReLU(inplace=True)
        return nn.Sequential(conv_norm(inside, out, 3, act), conv_norm(out, out, 3, act))

    def forward(self, x: Tensor) -> Tensor:
        pool = nn.functional.max_pool2d
        first = self.first(x)
        second = self.second(pool(first, 2))
        x = self.rise(self.bottom(pool(second, 2)))
        x = self.grow(self.third(torch.cat([second, x], dim=1)))
        return self.classify(self.fourth(torch.cat([first, x], dim=1)))


class Yolo(nn.Module):
    """A detector in the manner of YOLOv8: SPPF neck, two scales, boxes from distributions.

    The head predicts the distance to each side as a distribution over ``bins`` (arXiv:2006.04388)
    and decodes it against the grid of anchor points, as the exported networks do.
    """

    def __init__(self, classes: int = 5, bins: int = 8):
        super().__init__()
        self.classes, self.bins = classes, bins
        act = nn.SiLU(inplace=True)
        self.stem = nn.Sequential(conv_norm(3, 16, 3, act, 2), conv_norm(16, 32, 3, act, 2))
        self.fine = conv_norm(32, 32, 3, act, 2)
        self.coarse = conv_norm(32, 32, 3, act, 2)
        self.join = conv_norm(128, 32, 1, act)
        self.merge = conv_norm(64, 32, 3, act)
        self.heads = nn.ModuleList(nn.Conv2d(32, 4 * bins + classes, 1) for _ in range(2))

    def _pyramid(self, x: Tensor) -> Tensor:
        pooled = [x]
        for _ in range(3):
            pooled.append(nn.functional.max_pool2d(pooled[-1], 5, 1, 2))
        return self.join(torch.cat(pooled, dim=1))

    def _decode(self, raw: Tensor, stride: int) -> Tensor:
        batch, _, height, width = raw.shape
        distances, scores = raw.flatten(2).split((4 * self.bins, self.classes), dim=1)
        chances = distances.view(batch, 4, self.bins, -1).softmax(dim=2)
        sides = (chances * torch.arange(self.bins)[:, None]).sum(dim=2)
        rows, columns = torch.meshgrid(
            torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
        )
        points = torch.stack([columns.flatten(), rows.flatten()])
        low, high = points - sides[:, :2], points + sides[:, 2:]
        boxes = torch.cat([(low + high) / 2, high - low], dim=1) * stride
        return torch.cat([boxes, scores.sigmoid()], dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes and class scores [N, 4 + classes, points]; the best score and class per point."""
        fine = self.fine(self.stem(x))
        coarse = self._pyramid(self.coarse(fine))
        risen = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        fine = self.merge(torch.cat([fine, risen], dim=1))
        found = torch.cat(
            [self._decode(self.heads[0](fine), 8), self._decode(self.heads[1](coarse), 16)], dim=2
        )
        best, which = found[:, 4:].max(dim=1)
        return found, best, which
