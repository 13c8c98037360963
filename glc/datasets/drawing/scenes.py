"""Surveillance-like cameras: backgrounds, colors, sharpness, and the pictures they take of figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from .figures import CLOTH, Array, Person, Pose, draw_person, pick, rgb, tinted

HEIGHT, WIDTH = 128, 64
"""Size of a finished image in pixels."""
_SCALE = 3
"""The canvas is drawn this many times larger, then averaged."""
_SCENE = (620, 1500)
"""Height and width of a background, in pixels of the canvas."""
_HORIZON = 300
"""Row of a background where the ground starts."""


@dataclass(frozen=True)
class Camera:
    """Where a camera looks, and what it does to colors and sharpness.

    Attributes:
        seed: Seeds of the scene.
        gain: Factor of each color channel (3,).
        gamma: Exponent of the brightness.
        contrast: Contrast around middle gray.
        saturation: 0 is gray, 1 leaves the colors.
        blur: Standard deviation of the blur, in pixels of the finished image.
        resolution: Share of the pixels' height that the sensor resolves.
        noise: Standard deviation of the noise, in 0..255.
        quality: JPEG quality.
        slope: Brightness change from one end of the image to the other, horizontally and vertically.
        light: Direction of the light around a body, in radians.
        heading: Heading that people mostly have here, in radians.
        occlusion: Share of images where something stands in front.
        cut: How far crops miss the person, as a share of the height.
        haze: How pale the background is, 0 to 1: the paler, the easier is the data set.
    """

    seed: tuple[int, ...]
    gain: Array
    gamma: float
    contrast: float
    saturation: float
    blur: float
    resolution: float
    noise: float
    quality: int
    slope: Array
    light: float
    heading: float
    occlusion: float
    cut: float
    haze: float

    @classmethod
    def sample(cls, seed: Sequence[int], spread: float = 1.0, haze: float = 0.7) -> 'Camera':
        """Draw a random camera; the same for the same arguments.

        Args:
            seed: Seeds of the camera.
            spread: How much cameras differ in color and brightness; 0 is not at all.
            haze: How pale the background is, 0 to 1.
        """
        rng = np.random.default_rng(seed)
        return cls(
            seed=tuple(seed),
            gain=rng.uniform(1 - 0.08 * spread, 1 + 0.08 * spread, 3).astype(np.float32)
            * rng.uniform(0.95, 1.05),
            gamma=math.exp(spread * rng.uniform(-0.12, 0.12)),
            contrast=rng.uniform(1 - 0.12 * spread, 1 + 0.05 * spread),
            saturation=rng.uniform(1 - 0.2 * spread, 1 + 0.1 * spread),
            blur=rng.uniform(0.15, 0.5),
            resolution=rng.uniform(0.75, 1.0),
            noise=rng.uniform(1, 3),
            quality=int(rng.integers(60, 93)),
            slope=spread * rng.uniform(-0.08, 0.08, 2).astype(np.float32),
            light=rng.uniform(-1.2, 1.2),
            heading=rng.uniform(-math.pi, math.pi),
            occlusion=rng.uniform(0.04, 0.16),
            cut=rng.uniform(0.01, 0.03),
            haze=haze,
        )

    @cached_property
    def scene(self) -> Array:
        """The background (H, W, 3) float32, larger than a canvas."""
        scene = _scene(np.random.default_rng((*self.seed, 1)))
        return self.haze * 120 + (1 - self.haze) * np.clip(scene, 0, 255)

    def expose(self, canvas: Array, rng: np.random.Generator) -> Array:
        """Turn a canvas (H, W, 3) float32 into a finished image (128, 64, 3) uint8 BGR."""
        rows, columns = canvas.shape[:2]
        ramp_x = np.linspace(-1, 1, columns, dtype=np.float32)
        ramp_y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
        exposure = math.exp(rng.normal(0, 0.1))
        light = exposure * (1 + self.slope[0] * ramp_x + self.slope[1] * ramp_y)
        small = cv2.resize(
            canvas * light[..., None],
            (max(8, round(WIDTH * self.resolution)), max(16, round(HEIGHT * self.resolution))),
            interpolation=cv2.INTER_AREA,
        )
        image = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        blur = self.blur * rng.uniform(0.7, 1.4)
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=blur * rng.uniform(1.0, 1.6), sigmaY=blur)
        image = np.clip(image / 255, 0, 1) ** self.gamma * self.gain
        gray = image.mean(axis=2, keepdims=True)
        image = gray + self.saturation * (image - gray)
        image = 127.5 + self.contrast * (255 * image - 127.5)
        image += rng.normal(0, self.noise, image.shape)
        return np.clip(image, 0, 255).astype(np.uint8)


def _scene(rng: np.random.Generator) -> Array:
    rows, columns = _SCENE
    scene = np.empty((rows, columns, 3), np.float32)
    wall = tinted(
        rng, rgb(*pick(rng, ((158, 154, 146), (128, 130, 134), (146, 124, 112), (116, 126, 110)))), 10
    )
    ground = tinted(
        rng, rgb(*pick(rng, ((128, 126, 124), (152, 148, 140), (110, 122, 96), (118, 110, 104)))), 10
    )
    scene[:_HORIZON], scene[_HORIZON:] = wall, ground
    for y0, y1, strength in ((0, _HORIZON, 14), (_HORIZON, rows, 18)):
        for cell in (6, 40):
            noise = rng.normal(0, strength, (max(2, (y1 - y0) // cell), columns // cell, 1)).astype(
                np.float32
            )
            scene[y0:y1] += cv2.resize(noise, (columns, y1 - y0), interpolation=cv2.INTER_LINEAR)[..., None]
    match rng.integers(4):
        case 0:
            for y in range(0, _HORIZON, 24):
                cv2.line(scene, (0, y), (columns, y), (wall * 0.7).tolist(), 2)
                for x in range(24 * (y // 24 % 2), columns, 48):
                    cv2.line(scene, (x, y), (x, y + 24), (wall * 0.7).tolist(), 2)
        case 1:
            for x in range(int(rng.integers(40)), columns, 170):
                cv2.rectangle(scene, (x, 40), (x + 100, 200), (wall * 0.45 + 20).tolist(), -1)
                cv2.rectangle(scene, (x, 40), (x + 100, 200), (wall * 1.25).tolist(), 5)
        case 2:
            for x in range(0, columns, 26):
                cv2.line(scene, (x, 60), (x, _HORIZON), (wall * 0.55).tolist(), 5)
            cv2.line(scene, (0, 80), (columns, 80), (wall * 0.55).tolist(), 8)
    if rng.random() < 0.5:
        for x in range(-900, columns + 900, 110):
            cv2.line(scene, (x, rows), ((x + columns // 2) // 2, _HORIZON), (ground * 0.78).tolist(), 3)
        for step in range(1, 8):
            y = _HORIZON + int((rows - _HORIZON) * (step / 8) ** 1.6)
            cv2.line(scene, (0, y), (columns, y), (ground * 0.78).tolist(), 3)
    for _ in range(rng.integers(10, 22)):
        _clutter(scene, rng)
    return scene


def _dull(rng: np.random.Generator) -> Array:
    """Draw a color of things: less vivid than clothes."""
    color = tinted(rng, pick(rng, CLOTH), 12)
    return 0.45 * color + 0.55 * color.mean()


def _clutter(scene: Array, rng: np.random.Generator) -> None:
    color = _dull(rng)
    x, y = int(rng.integers(scene.shape[1])), _HORIZON + int(rng.integers(-10, 130))
    tall, wide = int(rng.integers(60, 220)), int(rng.integers(30, 120))
    match rng.integers(5):
        case 0:
            cv2.rectangle(scene, (x, y - 2 * tall), (x + 10 + wide // 10, y), (color * 0.8).tolist(), -1)
        case 1:
            cv2.rectangle(scene, (x, y - tall), (x + wide, y), color.tolist(), -1)
            cv2.rectangle(scene, (x, y - tall), (x + wide, y - tall + 12), (color * 0.7).tolist(), -1)
        case 2:
            for center in (x, x + 90):
                cv2.circle(scene, (center, y - 35), 35, (40, 40, 40), 5, cv2.LINE_AA)
            cv2.line(scene, (x, y - 35), (x + 90, y - 60), color.tolist(), 6, cv2.LINE_AA)
        case 3:
            for _ in range(30):
                leaf = (rgb(60, 100, 50) + rng.normal(0, 16, 3)).tolist()
                spot = (x + int(rng.normal(0, wide / 2)), y - tall + int(rng.normal(0, tall / 3)))
                cv2.circle(scene, spot, 16, leaf, -1, cv2.LINE_AA)
        case _:
            cv2.rectangle(scene, (x, y - tall), (x + wide, y - tall + 45), color.tolist(), -1)
            cv2.line(scene, (x + wide // 2, y - tall), (x + wide // 2, y), (90, 90, 90), 6)


@dataclass(frozen=True)
class Walk:
    """What the frames of one passage of a person in front of a camera have in common."""

    place: float
    ground: float
    heading: float
    stride: float
    phase: float
    brightness: float

    @classmethod
    def sample(cls, rng: np.random.Generator, camera: Camera) -> 'Walk':
        """Draw a random passage; headings gather around the camera's usual one, or its opposite."""
        opposite = math.pi if rng.random() < 0.3 else 0.0
        return cls(
            place=rng.uniform(0, 1),
            ground=rng.uniform(0.5, 0.8),
            heading=camera.heading + opposite + rng.normal(0, 0.5),
            stride=rng.uniform(0.15, 0.5),
            phase=rng.uniform(0, 2 * math.pi),
            brightness=math.exp(rng.normal(0, 0.12)),
        )


def render(
    person: Person,
    camera: Camera,
    walk: Walk,
    passer_by: Person,
    rng: np.random.Generator,
    junk: bool = False,
) -> Array:
    """Draw one detection of a person.

    Args:
        person: Who is detected.
        camera: By which camera.
        walk: During which passage.
        passer_by: Somebody else who may be in the picture.
        rng: Source of what differs between the frames of a passage.
        junk: Whether the detector missed: most of the person is outside.

    Returns:
        Image (128, 64, 3), uint8 BGR.
    """
    # Boxes are narrower than 1:2 and stretched to it, as those of a detector.
    rows, columns = HEIGHT * _SCALE, int(WIDTH * _SCALE * rng.uniform(0.68, 0.84))
    x0 = int(np.clip(walk.place + rng.normal(0, 0.02), 0, 1) * (_SCENE[1] - columns))
    y0 = int(np.clip(_HORIZON - walk.ground * rows + rng.normal(0, 8), 0, _SCENE[0] - rows))
    canvas = camera.scene[y0 : y0 + rows, x0 : x0 + columns] * walk.brightness
    if rng.random() < 0.5:
        canvas = canvas[:, ::-1]
    canvas = np.ascontiguousarray(canvas)

    size = rows * rng.uniform(0.84, 0.97)
    pose = Pose(
        x=columns * (0.5 + rng.normal(0, 0.045)),
        top=(rows - size) * 0.5 + rows * rng.normal(0, camera.cut),
        size=size,
        heading=walk.heading + rng.normal(0, 0.12),
        phase=walk.phase + rng.uniform(0, 2 * math.pi),
        stride=walk.stride,
        lean=rng.normal(0, 0.03),
        light=camera.light,
        contrast=rng.uniform(0.5, 0.9),
    )
    if junk:
        pose = replace(pose, x=columns * rng.choice([-0.05, 1.05]), top=rows * rng.choice([-0.6, 0.55]))
    elif rng.random() < 0.06:
        pose = replace(pose, size=size * 1.45, top=rows * 0.03)

    other = replace(
        pose,
        x=columns * (0.5 + rng.choice([-1, 1]) * rng.uniform(0.35, 0.6)),
        top=pose.top + rows * rng.uniform(-0.02, 0.12),
        size=size * rng.uniform(0.85, 1.05),
        heading=rng.uniform(-math.pi, math.pi),
    )
    if rng.random() < 0.1:
        draw_person(canvas, passer_by, replace(other, size=other.size * 0.8, top=rows * 0.15))
    _cast_shadow(canvas, pose)
    draw_person(canvas, person, pose)
    if rng.random() < camera.occlusion:
        _occlude(canvas, passer_by, other, rng)
    return camera.expose(canvas, rng)


def _cast_shadow(canvas: Array, pose: Pose) -> None:
    shadow = np.zeros(canvas.shape[:2], np.uint8)
    center = (int(pose.x + 20 * math.sin(pose.light)), int(pose.top + pose.size * 0.985))
    cv2.ellipse(shadow, center, (int(pose.size * 0.13), int(pose.size * 0.02) + 1), 0, 0, 360, 255, -1)
    canvas *= (1 - 0.45 * cv2.blur(shadow, (15, 9)).astype(np.float32) / 255)[..., None]


def _occlude(canvas: Array, passer_by: Person, pose: Pose, rng: np.random.Generator) -> None:
    rows, columns = canvas.shape[:2]
    color = _dull(rng)
    x, wide = int(rng.uniform(0, columns)), int(columns * rng.uniform(0.25, 0.6))
    match rng.integers(3):
        case 0:
            cv2.rectangle(canvas, (x, 0), (x + columns // 9, rows), color.tolist(), -1)
        case 1:
            top = int(rows * rng.uniform(0.6, 0.85))
            cv2.rectangle(canvas, (x - wide, top), (x + wide, rows), color.tolist(), -1)
            cv2.rectangle(canvas, (x - wide, top), (x + wide, top + 10), (color * 0.7).tolist(), -1)
        case _:
            draw_person(canvas, passer_by, pose)
