"""Makes what the student sees, on the device of the training: crops, collages, and short films of moving things.

A film is what a still camera delivers: a background, sprites that move over it, light that changes, sensor noise.
Its first picture fills the canvas; every later one updates the patches that changed most since they were last
encoded, the older the sooner among equals, as the engine would.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from ovstream.model.encoder import patchify

AGE_BONUS = 0.01  # of RMS change a step: what is old comes first among what is equal
NIGHT_SHARE = 0.12
BLUR_SHARE = 0.4
MIXED_SHARE = 0.3  # of photos: seen through each other, which few pictures make many of


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Pictures in the memory of the device.

    Attributes:
        photos: (n, 3, S, S) uint8, n > 0.
        sprites: (m, 4, s, s) uint8, RGBA; without any, films show changes of light and noise alone.
    """

    photos: Tensor
    sprites: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """Update histories of a batch; V = N + M versions of tokens.

    Attributes:
        patches: (B, V, P) pixels in 0..1: all patches of the first picture, then the updates.
        slots: (B, V) int64.
        born: (B, V) int64, step of the update; 0 for the first picture.
        last: (B, N, P) the last picture, whole.
    """

    patches: Tensor
    slots: Tensor
    born: Tensor
    last: Tensor


def joined(first: Films, second: Films) -> Films:
    """One batch after the other."""
    return Films(
        torch.cat([first.patches, second.patches]),
        torch.cat([first.slots, second.slots]),
        torch.cat([first.born, second.born]),
        torch.cat([first.last, second.last]),
    )


class Views:
    """Draws random views from a bank.

    Args:
        bank: On the device.
        patch: Side of a patch in pixels.
        generator: Of that device: same seed, same views.
    """

    def __init__(self, bank: Bank, *, patch: int, generator: torch.Generator) -> None:
        self._bank, self._patch, self._generator = bank, patch, generator
        self._device = bank.photos.device

    def photos(self, count: int, grid: tuple[int, int]) -> Tensor:
        """(B, N, P) random crops of single pictures, in 0..1."""
        return self._patches(
            self._degraded(self._mixed(self._jittered(self._crops(count, grid, least=0.12))))
        )

    def collages(self, count: int, grid: tuple[int, int]) -> Tensor:
        """(B, N, P) four pictures each, in quarters whose borders are drawn."""
        rows, cols = grid
        parts = [self._jittered(self._crops(count, grid, least=0.4)) for _ in range(4)]
        height, width = rows * self._patch, cols * self._patch
        y = (self._uniform(count, 0.3, 0.7) * height).view(-1, 1, 1, 1)
        x = (self._uniform(count, 0.3, 0.7) * width).view(-1, 1, 1, 1)
        low = torch.arange(height, device=self._device).view(1, 1, -1, 1) >= y
        right = torch.arange(width, device=self._device).view(1, 1, 1, -1) >= x
        upper = torch.where(right, parts[1], parts[0])
        return self._patches(torch.where(low, torch.where(right, parts[3], parts[2]), upper))

    def films(self, count: int, grid: tuple[int, int], *, steps: int, updates: int) -> Films:
        """Draws histories.

        Args:
            count: B.
            grid: (rows, cols).
            steps: Updates after the first picture.
            updates: M, patches in all updates together; a multiple of `steps`.
        """
        pictures = self.film(count, grid, steps + 1)
        first = pictures[0]
        tokens = first.shape[1]
        current, age = first.clone(), torch.zeros(count, tokens, device=self._device)
        patches, slots, born = (
            [first],
            [torch.arange(tokens, device=self._device).expand(count, -1)],
            [0] * tokens,
        )
        share = updates // steps
        for step in range(1, steps + 1):
            change = (pictures[step] - current).square().mean(2).sqrt() + AGE_BONUS * age / steps
            change = change + 0.02 * self._noise(count, tokens)  # planners are not perfect
            chosen = change.topk(share, dim=1).indices
            fresh = _take(pictures[step], chosen)
            current = current.scatter(1, chosen.unsqueeze(-1).expand_as(fresh), fresh)
            age = (age + 1).scatter(1, chosen, 0.0)
            patches.append(fresh)
            slots.append(chosen)
            born += [step] * share
        table = torch.tensor(born, device=self._device).expand(count, -1)
        return Films(torch.cat(patches, 1), torch.cat(slots, 1), table, pictures[-1])

    def film(self, count: int, grid: tuple[int, int], length: int, *, sprites: int = 2) -> list[Tensor]:
        """The pictures of films, each (B, N, P) in 0..1."""
        height, width = grid[0] * self._patch, grid[1] * self._patch
        ground = self._jittered(self._crops(count, grid, least=0.5))
        things = [self._things(count) for _ in range(sprites if len(self._bank.sprites) else 0)]
        gain = 1 + 0.25 * self._noise(count) * (
            self._uniform(count) < 0.4
        )  # light at the end against the start
        spot = self._spot(count, height, width) * (self._uniform(count) < 0.3).view(-1, 1, 1, 1)
        sigma = (0.03 * self._uniform(count) ** 2).view(-1, 1, 1, 1)
        night = (self._uniform(count) < NIGHT_SHARE).view(-1, 1, 1, 1)
        blurred = round(BLUR_SHARE * count)
        out = []
        for number in range(length):
            time = number / max(length - 1, 1)
            picture = ground
            for thing in things:
                picture = self._lay(picture, thing, time)
            picture = picture * (1 + (gain - 1) * time).view(-1, 1, 1, 1) + spot * time
            picture = torch.where(night, self._dark(picture), picture)
            picture = picture + sigma * torch.randn(
                picture.shape, device=self._device, generator=self._generator
            )
            picture[:blurred] = _coarse(picture[:blurred])
            out.append(self._patches(picture.clamp(0, 1)))
        return out

    def _things(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sprites, their places (B, 4) as x, y and velocity, and sizes (B,), in units of half the picture."""
        chosen = self._bank.sprites[self._integers(count, len(self._bank.sprites))].float() / 255
        place = torch.stack([self._uniform(count, -1.1, 1.1) for _ in range(2)], 1)
        speed = 0.6 * self._noise(count, 2) * (self._uniform(count) < 0.75).unsqueeze(1)
        size = self._uniform(count, 0.15, 0.6) * (self._uniform(count) < 0.8) + 1e-3
        return chosen, torch.cat([place, speed], 1), size

    def _lay(self, picture: Tensor, thing: tuple[Tensor, Tensor, Tensor], time: float) -> Tensor:
        sprites, path, size = thing
        place = path[:, :2] + time * path[:, 2:]
        aspect = picture.shape[3] / picture.shape[2]
        theta = torch.zeros(len(picture), 2, 3, device=self._device)
        theta[:, 0, 0], theta[:, 1, 1] = aspect / size, 1 / size
        theta[:, 0, 2], theta[:, 1, 2] = -place[:, 0] * aspect / size, -place[:, 1] / size
        sheet = F.affine_grid(theta, [len(picture), 4, *picture.shape[2:]], align_corners=False)
        laid = F.grid_sample(sprites, sheet, align_corners=False)
        alpha = laid[:, 3:]
        return picture * (1 - alpha) + laid[:, :3] * alpha

    def _crops(self, count: int, grid: tuple[int, int], *, least: float) -> Tensor:
        """(B, 3, H, W) in 0..1: parts of photographs, half of them mirrored."""
        size = [count, 3, grid[0] * self._patch, grid[1] * self._patch]
        if not count:
            return torch.zeros(size, device=self._device)
        chosen = self._bank.photos[self._integers(count, len(self._bank.photos))].float() / 255
        aspect = grid[1] / grid[0]
        area = self._uniform(count, least, 1.0)
        stretch = torch.exp(0.2 * self._noise(count)) * aspect
        wide = (area * stretch).sqrt().clamp(max=1.0)
        high = (area / stretch).sqrt().clamp(max=1.0)
        mirror = torch.where(self._uniform(count) < 0.5, -1.0, 1.0)
        theta = torch.zeros(count, 2, 3, device=self._device)
        theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
        theta[:, 0, 2] = (1 - wide) * self._uniform(count, -1, 1)
        theta[:, 1, 2] = (1 - high) * self._uniform(count, -1, 1)
        sheet = F.affine_grid(theta, size, align_corners=False)
        return F.grid_sample(chosen, sheet, align_corners=False, padding_mode="reflection")

    def _jittered(self, x: Tensor) -> Tensor:
        """Brightness, contrast, saturation, and grey sometimes."""
        count = len(x)
        grey = x.mean(1, keepdim=True)
        colour = torch.where(self._uniform(count) < 0.12, 0.0, torch.exp(0.2 * self._noise(count)))
        x = grey + (x - grey) * colour.view(-1, 1, 1, 1)
        level = x.mean((1, 2, 3), keepdim=True)
        x = level + (x - level) * torch.exp(0.2 * self._noise(count)).view(-1, 1, 1, 1)
        return (x + 0.08 * self._noise(count).view(-1, 1, 1, 1)).clamp(0, 1)

    def _mixed(self, x: Tensor) -> Tensor:
        """A part blended with as many others; neither the first nor the last ones, see `_degraded`."""
        start, count = len(x) // 4, round(MIXED_SHARE * len(x))
        weight = self._uniform(count, 0.3, 1.0).view(-1, 1, 1, 1)
        some, others = x[start : start + count], x[start + count : start + 2 * count]
        return torch.cat([x[:start], weight * some + (1 - weight) * others, x[start + count :]])

    def _degraded(self, x: Tensor) -> Tensor:
        """The first of them coarse, all noisy, the last dark: who is where is chance already."""
        count = len(x)
        blurred, dark = round(BLUR_SHARE * count), round(NIGHT_SHARE / 2 * count)
        x = x.clone()
        x[:blurred] = _coarse(x[:blurred])
        sigma = (0.05 * self._uniform(count) ** 3).view(-1, 1, 1, 1)
        x = x + sigma * torch.randn(x.shape, device=self._device, generator=self._generator)
        if dark:
            x[-dark:] = self._dark(x[-dark:])
        return x.clamp(0, 1)

    def _dark(self, x: Tensor) -> Tensor:
        grey = x.mean(1, keepdim=True).expand_as(x)
        return 0.6 * grey.clamp(min=0) ** 1.6

    def _spot(self, count: int, height: int, width: int) -> Tensor:
        """(B, 1, H, W) soft light or shadow somewhere."""
        coarse = self._noise(count, 1, 3, 3)
        return 0.15 * F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)

    def _patches(self, x: Tensor) -> Tensor:
        return patchify(x.unsqueeze(2), self._patch)

    def _uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, device=self._device, generator=self._generator)

    def _noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self._device, generator=self._generator)

    def _integers(self, count: int, below: int) -> Tensor:
        return torch.randint(below, (count,), device=self._device, generator=self._generator)


def _coarse(x: Tensor) -> Tensor:
    """As from a picture of a third of the size."""
    if not len(x):
        return x
    small = F.avg_pool2d(x, 3, ceil_mode=True)
    return F.interpolate(small, size=x.shape[2:], mode="bicubic", align_corners=False)


def _take(values: Tensor, indices: Tensor) -> Tensor:
    return values.gather(1, indices.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
