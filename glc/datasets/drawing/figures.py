"""Person-like figures seen by surveillance-like cameras, drawn from random numbers.

A figure is a set of textured cylinders around a walking skeleton. Every surface point has body coordinates:
the angle around the body (0 in front, pi at the back) and the height below the top of the part. Prints, open
jackets, straps and faces are functions of these, so what is seen of them follows from the viewpoint.

Colors are BGR in 0..255, lengths are fractions of the body height, screen positions are pixels of the
drawing canvas.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

Array = np.ndarray
Paint = Callable[[Array, Array], Array]
"""Colors (..., 3) from the body angles and heights of surface points."""

Option = TypeVar('Option')


def rgb(*values: int) -> Array:
    """Make a color (3,) float32 BGR from its red, green and blue."""
    return np.array(values[::-1], np.float32)


SKIN = [rgb(*c) for c in ((241, 205, 176), (224, 172, 128), (188, 132, 94), (141, 92, 62), (92, 60, 42))]
HAIR = [rgb(*c) for c in ((22, 18, 16), (58, 38, 26), (104, 72, 42), (176, 140, 86), (150, 148, 146))]
CLOTH = [
    rgb(*c)
    for c in (
        *((28, 28, 32), (70, 72, 78), (140, 142, 146), (232, 232, 228), (36, 48, 92), (92, 132, 190)),
        *((172, 44, 48), (52, 104, 66), (190, 168, 130), (104, 70, 48), (222, 186, 70), (120, 74, 138)),
    )
]
LOWER = [rgb(*c) for c in ((26, 26, 30), (44, 58, 98), (96, 118, 156), (110, 106, 100), (176, 160, 130))]
SHOES = [rgb(*c) for c in ((24, 22, 22), (226, 226, 222), (110, 72, 46), (150, 46, 48), (60, 74, 120))]


def pick(
    rng: np.random.Generator, options: Sequence[Option], weights: Sequence[float] | None = None
) -> Option:
    """Draw one of the options; ``weights`` need not add up to one."""
    chance = None if weights is None else np.asarray(weights) / np.sum(weights)
    return options[int(rng.choice(len(options), p=chance))]


def tinted(rng: np.random.Generator, color: Array, spread: float) -> Array:
    """Draw a color near another; ``spread`` is the standard deviation per channel."""
    return np.clip(color + rng.normal(0, spread, 3), 8, 247).astype(np.float32)


@dataclass(frozen=True)
class Garment:
    """A piece of clothing: two colors, a pattern between them, and what is printed on it."""

    color: Array
    second: Array
    pattern: str
    period: float
    front_print: str = 'none'
    back_print: str = 'none'
    print_color: Array | None = None
    inner: Array | None = None

    def paint(self, angle: Array, height: Array) -> Array:
        """Return the colors of the points at these body angles and heights below the shoulders."""
        across, down = angle * 0.16 / self.period, height / self.period
        match self.pattern:
            case 'stripes':
                second = down % 1 < 0.45
            case 'bars':
                second = across % 1 < 0.4
            case 'checks':
                second = (across % 1 < 0.5) ^ (down % 1 < 0.5)
            case 'dots':
                second = np.hypot(across % 1 - 0.5, down % 1 - 0.5) < 0.3
            case 'block':
                second = height < 2.2 * self.period
            case _:
                second = np.zeros(angle.shape, bool)
        color = np.where(second[..., None], self.second, self.color)
        for kind, center in ((self.front_print, 0.0), (self.back_print, math.pi)):
            printed = _is_printed(kind, _turned(angle, center), height)
            if printed is not None and self.print_color is not None:
                color = np.where(printed[..., None], self.print_color, color)
        if self.inner is not None:
            opening = np.abs(_turned(angle, 0.0)) < 0.28
            color = np.where(opening[..., None], self.inner, color)
        return color


def _turned(angle: Array, center: float) -> Array:
    """Return the angle relative to a center, in -pi..pi."""
    return (angle - center + math.pi) % (2 * math.pi) - math.pi


def _is_printed(kind: str, angle: Array, height: Array) -> Array | None:
    x, y = angle / 0.55, (height - 0.1) / 0.05
    match kind:
        case 'disc':
            return np.hypot(x, y) < 1
        case 'square':
            return (np.abs(x) < 1) & (np.abs(y) < 0.9)
        case 'band':
            return (np.abs(x) < 1.6) & (np.abs(y) < 0.35)
        case 'cross':
            return (np.hypot(x, y) < 1.2) & ((np.abs(x) < 0.35) | (np.abs(y) < 0.35))
        case 'badge':
            return np.hypot(x - 0.8, y + 0.6) < 0.5
    return None


@dataclass(frozen=True)
class Person:
    """How one person looks, whoever looks at them."""

    shoulders: float
    hips: float
    depth: float
    legs: float
    head: float
    limbs: float
    skin: Array
    hair: Array
    hair_style: str
    hat: Array | None
    upper: Garment
    upper_style: str
    lower: Garment
    lower_style: str
    shoes: Array
    bag: str
    bag_color: Array
    bag_side: int

    @classmethod
    def sample(cls, rng: np.random.Generator, outfit: tuple[Array, Array]) -> 'Person':
        """Draw a random person, dressed in the colors of an outfit (upper, lower) that others wear too."""
        upper_color, lower_color = (tinted(rng, color, 5.0) for color in outfit)
        second = tinted(rng, pick(rng, [c for c in CLOTH if np.abs(c - upper_color).sum() > 120]), 6.0)
        other = tinted(rng, pick(rng, [c for c in CLOTH if np.abs(c - upper_color).sum() > 120]), 6.0)
        patterns = ('plain', 'stripes', 'bars', 'checks', 'dots', 'block')
        prints = ('none', 'disc', 'square', 'band', 'cross', 'badge')
        upper_style = pick(rng, ('shirt', 'sweater', 'jacket', 'coat'), (4, 3, 3, 1))
        upper = Garment(
            upper_color,
            second,
            pick(rng, patterns, (5, 2, 1, 1.5, 1, 1.5)),
            rng.uniform(0.04, 0.075),
            front_print=pick(rng, prints, (4, 1, 1, 1, 1, 1)),
            back_print=pick(rng, prints[:-1], (5, 1, 1, 1, 1)),
            print_color=other,
            inner=other if upper_style in ('jacket', 'coat') and rng.random() < 0.6 else None,
        )
        lower = Garment(
            lower_color,
            np.clip(lower_color * rng.choice([0.6, 1.5]) + 10, 0, 250).astype(np.float32),
            pick(rng, ('plain', 'bars', 'block'), (6, 1, 1)),
            rng.uniform(0.05, 0.08),
        )
        return cls(
            shoulders=rng.uniform(0.088, 0.118),
            hips=rng.uniform(0.072, 0.098),
            depth=rng.uniform(0.06, 0.085),
            legs=rng.uniform(0.455, 0.505),
            head=rng.uniform(0.06, 0.07),
            limbs=rng.uniform(0.85, 1.2),
            skin=tinted(rng, pick(rng, SKIN, (3, 3, 2, 1, 1)), 5.0),
            hair=tinted(rng, pick(rng, HAIR, (4, 3, 2, 1, 1)), 5.0),
            hair_style=pick(rng, ('short', 'long', 'bun', 'bald'), (5, 4, 2, 1)),
            hat=tinted(rng, pick(rng, CLOTH), 6.0) if rng.random() < 0.18 else None,
            upper=upper,
            upper_style=upper_style,
            lower=lower,
            lower_style=pick(rng, ('trousers', 'shorts', 'skirt'), (6, 2, 1.5)),
            shoes=tinted(rng, pick(rng, SHOES, (4, 3, 2, 1, 1)), 6.0),
            bag=pick(rng, ('none', 'backpack', 'shoulder', 'hand'), (4, 3, 2, 1.5)),
            bag_color=tinted(rng, pick(rng, CLOTH), 6.0),
            bag_side=int(rng.choice([-1, 1])),
        )


@dataclass(frozen=True)
class Pose:
    """How a person stands on the canvas.

    Attributes:
        x: Center of the body, in pixels of the canvas.
        top: Top of the head, in pixels of the canvas.
        size: Height of the body, in pixels of the canvas.
        heading: Radians; 0 faces the camera, pi shows the back.
        phase: Phase of the step, in radians.
        stride: Largest swing of a leg, in radians.
        lean: Slope of the body's axis.
        light: Direction of the light around the body, in radians; 0 is from the camera.
        contrast: Strength of the shading, 0 to 1.
    """

    x: float
    top: float
    size: float
    heading: float
    phase: float
    stride: float
    lean: float
    light: float
    contrast: float


class _Painter:
    """Painter of the parts of one figure onto a canvas (H, W, 3) float32."""

    def __init__(self, canvas: Array, pose: Pose) -> None:
        self.canvas = canvas
        self.pose = pose
        self.cos, self.sin = math.cos(pose.heading), math.sin(pose.heading)

    def project(self, point: Array) -> tuple[Array, float]:
        """Return the screen position (x, y) of a body point (lateral, height, forward), and its nearness."""
        lateral, height, forward = point
        x = lateral * self.cos + forward * self.sin + self.pose.lean * (1 - height)
        nearness = forward * self.cos - lateral * self.sin
        return np.array([self.pose.x + x * self.pose.size, self.pose.top + height * self.pose.size]), nearness

    def breadth(self, lateral: float, forward: float) -> float:
        """Return half the width of an elliptic cross-section as the camera sees it."""
        return math.hypot(lateral * self.cos, forward * self.sin)

    def limb(
        self, start: Array, end: Array, half_widths: Sequence[float], paint: Paint, rounded: bool = True
    ) -> None:
        """Paint a cylinder between two body points; half widths are spread evenly along it."""
        (a, _), (b, _) = self.project(start), self.project(end)
        size = self.pose.size
        reach = max(half_widths) * size + 1
        box = self._box(np.minimum(a, b) - reach, np.maximum(a, b) + reach)
        if box is None:
            return
        y, x = np.ogrid[box]
        axis = b - a
        length = max(float(np.hypot(*axis)), 1.0)
        axis = axis / length
        along = (x - a[0]) * axis[0] + (y - a[1]) * axis[1]
        aside = ((x - a[0]) * axis[1] - (y - a[1]) * axis[0]) * (1 if axis[1] >= 0 else -1)
        place = np.clip(along / length, 0, 1)
        half = np.interp(place, np.linspace(0, 1, len(half_widths)), np.asarray(half_widths) * size)
        beyond = along - place * length
        inside = np.hypot(aside, beyond) <= half
        if not rounded:
            inside &= np.abs(beyond) < 0.5
        self._fill(box, inside, aside / np.maximum(half, 1e-3), along / size, paint)

    def ball(self, center: Array, half_width: float, half_height: float, paint: Paint) -> None:
        """Paint an ellipsoid; the paint's height runs from -1 (top) to 1 (bottom)."""
        (cx, cy), _ = self.project(center)
        width, height = half_width * self.pose.size, half_height * self.pose.size
        box = self._box(np.array([cx - width, cy - height]), np.array([cx + width, cy + height]))
        if box is None:
            return
        y, x = np.ogrid[box]
        across, down = (x - cx) / width, (y - cy) / height
        inside = np.hypot(across, down) <= 1
        aside = across / np.sqrt(np.maximum(1 - down**2, 0.05))
        self._fill(box, inside, aside, np.broadcast_to(down, inside.shape), paint)

    def _box(self, low: Array, high: Array) -> tuple[slice, slice] | None:
        rows, columns = self.canvas.shape[:2]
        x0, x1 = max(int(low[0]), 0), min(int(high[0]) + 2, columns)
        y0, y1 = max(int(low[1]), 0), min(int(high[1]) + 2, rows)
        return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None

    def _fill(
        self, box: tuple[slice, slice], inside: Array, aside: Array, height: Array, paint: Paint
    ) -> None:
        aside, height = aside[inside], height[inside]
        seen = np.arcsin(np.clip(aside, -1, 1))
        angle = _turned(seen, self.pose.heading)
        folds = 1 + 0.05 * np.sin(5 * angle + 40 * height + self.pose.phase)
        shade = 1 - self.pose.contrast * (1 - np.cos(seen - self.pose.light)) * 0.55
        color = paint(angle, height) * (folds * shade)[..., None]
        self.canvas[box][inside] = color


def _plain(color: Array) -> Paint:
    return lambda angle, height: np.broadcast_to(color, (*angle.shape, 3))


def draw_person(canvas: Array, person: Person, pose: Pose) -> None:
    """Paint a person onto a canvas.

    Args:
        canvas: (H, W, 3) float32 BGR, changed in place.
        person: Who.
        pose: Where and how.
    """
    painter = _Painter(canvas, pose)
    parts: list[tuple[float, Callable[[], None]]] = []

    def add(nearness_of: Array, draw: Callable[[], None], bias: float = 0.0) -> None:
        parts.append((painter.project(nearness_of)[1] + bias, draw))

    shoulder_y, hip_y = 0.165, 1 - person.legs
    for side in (-1, 1):
        _add_leg(painter, add, person, pose, side, hip_y)
        _add_arm(painter, add, person, pose, side, shoulder_y)
    _add_torso(painter, add, person, shoulder_y, hip_y)
    _add_head(painter, add, person)
    _add_bag(painter, add, person, shoulder_y, hip_y)
    for _, draw in sorted(parts, key=lambda part: part[0]):
        draw()


def _add_leg(painter: _Painter, add: Callable, person: Person, pose: Pose, side: int, hip_y: float) -> None:
    swing = pose.stride * math.sin(pose.phase) * side
    bend = 0.9 * pose.stride * max(0.0, math.cos(pose.phase) * -side) + 0.05
    half = 0.5 * (0.96 - hip_y)
    hip = np.array([0.55 * person.hips * side, hip_y, 0.0])
    knee = hip + half * np.array([0, math.cos(swing), math.sin(swing)])
    ankle = knee + half * np.array([0, math.cos(swing - bend), math.sin(swing - bend)])
    toe = ankle + np.array([0, 0.018, 0.055])
    thigh, calf, shin = 0.052 * person.limbs, 0.038 * person.limbs, 0.026 * person.limbs
    cloth = person.lower.paint
    bare = _plain(person.skin)

    def draw() -> None:
        painter.limb(ankle + np.array([0, 0.012, -0.012]), toe, (0.022, 0.018), _plain(person.shoes))
        if person.lower_style == 'trousers':
            painter.limb(knee, ankle, (calf, shin * 1.15), cloth)
            painter.limb(hip, knee, (thigh, calf), cloth)
        else:
            painter.limb(knee, ankle, (calf * 0.9, shin * 0.8), bare)
            painter.limb(hip, knee, (thigh * 0.9, calf * 0.9), bare)
            if person.lower_style == 'shorts':
                painter.limb(hip, hip + 0.85 * (knee - hip), (thigh * 1.05, thigh), cloth, rounded=False)

    add((hip + ankle) / 2, draw, bias=-1.0)


def _add_arm(
    painter: _Painter, add: Callable, person: Person, pose: Pose, side: int, shoulder_y: float
) -> None:
    carries = person.bag == 'hand' and side == person.bag_side
    swing = -0.9 * pose.stride * math.sin(pose.phase) * side * (0.3 if carries else 1.0)
    shoulder = np.array([1.02 * person.shoulders * side, shoulder_y + 0.03, 0.0])
    elbow = shoulder + 0.165 * np.array([0.12 * side, math.cos(swing), math.sin(swing)])
    wrist = elbow + 0.15 * np.array([0, math.cos(swing + 0.35), math.sin(swing + 0.35)])
    upper, lower = 0.034 * person.limbs, 0.024 * person.limbs
    sleeve = person.upper.color if person.upper.pattern == 'block' else None
    cloth = (
        _plain(sleeve)
        if sleeve is not None
        else replace(person.upper, front_print='none', back_print='none', inner=None).paint
    )
    short = person.upper_style == 'shirt'

    def draw() -> None:
        painter.ball(wrist + np.array([0, 0.015, 0]), 0.02, 0.025, _plain(person.skin))
        painter.limb(elbow, wrist, (upper * 0.85, lower), _plain(person.skin) if short else cloth)
        if short:
            painter.limb(shoulder, elbow, (upper, upper * 0.85), _plain(person.skin))
        painter.limb(
            shoulder, shoulder + (0.65 if short else 1.0) * (elbow - shoulder), (upper * 1.1, upper), cloth
        )
        if carries:
            top, bottom = wrist + np.array([0, 0.05, 0]), wrist + np.array([0, 0.15, 0])
            width = painter.breadth(0.03, 0.07)
            painter.limb(wrist, top, (0.008, 0.008), _plain(person.bag_color * 0.7))
            painter.limb(top, bottom, (width, width * 1.1), _plain(person.bag_color), False)

    add((shoulder + wrist) / 2, draw)


def _add_torso(painter: _Painter, add: Callable, person: Person, shoulder_y: float, hip_y: float) -> None:
    breadth = painter.breadth
    neck = np.array([0, 0.11, 0.0])
    top = np.array([0, shoulder_y - 0.02, 0.0])
    bottom = np.array([0, hip_y + (0.14 if person.upper_style == 'coat' else 0.03), 0.0])
    hips = breadth(person.hips, person.depth)
    waist = breadth(0.5 * (person.shoulders + person.hips) * 0.88, person.depth)
    chest = breadth(person.shoulders, person.depth * 1.1)
    hem = hips * (1.2 if person.upper_style in ('coat', 'jacket') else 1.05)

    def draw() -> None:
        painter.limb(neck, top + np.array([0, 0.03, 0]), (0.03, 0.035), _plain(person.skin))
        if person.lower_style == 'skirt':
            below = np.array([0, hip_y + 0.22, 0.0])
            painter.limb(
                np.array([0, hip_y - 0.05, 0.0]), below, (hips, hips * 1.35), person.lower.paint, False
            )
        else:
            belt = np.array([0, hip_y - 0.04, 0.0])
            painter.limb(belt, np.array([0, hip_y + 0.06, 0.0]), (hips, hips), person.lower.paint, False)
        profile = (
            chest * 0.45,
            chest * 0.98,
            chest * 1.02,
            chest * 0.97,
            waist,
            waist,
            (waist + hips) / 2,
            hips,
            hem,
        )
        painter.limb(top, bottom, profile, person.upper.paint, rounded=False)

    add(np.zeros(3), draw)


def _add_head(painter: _Painter, add: Callable, person: Person) -> None:
    center = np.array([0, 0.068, 0.012])
    width = painter.breadth(person.head * 0.78, person.head * 0.95)
    line = {'short': -0.3, 'long': -0.35, 'bun': -0.45, 'bald': -2.0}[person.hair_style]
    nape = {'short': 0.35, 'long': 1.0, 'bun': 0.45, 'bald': -2.0}[person.hair_style]

    def paint(angle: Array, height: Array) -> Array:
        hair = (height < line) | ((np.abs(angle) > 1.25) & (height < nape))
        color = np.where(hair[..., None], person.hair, person.skin)
        eyes = (np.abs(np.abs(angle) - 0.42) < 0.16) & (np.abs(height - 0.02) < 0.1)
        color = np.where(eyes[..., None], 0.3 * person.skin, color)
        if person.hat is not None:
            color = np.where((height < -0.25)[..., None], person.hat, color)
        return color

    def draw() -> None:
        painter.ball(center, width, person.head * 1.12, paint)
        if person.hat is not None:
            brim = center + np.array([0, -0.018, 0.03])
            painter.ball(brim, painter.breadth(0.05, 0.065), 0.012, _plain(person.hat * 0.8))

    add(center, draw, bias=0.02)
    if person.hair_style == 'bun':
        bun = center + np.array([0, -0.03, -0.065])
        add(bun, lambda: painter.ball(bun, 0.03, 0.03, _plain(person.hair)), bias=0.02)
    if person.hair_style == 'long':
        top, end = center + np.array([0, 0.01, -0.05]), center + np.array([0, 0.14, -0.06])
        fall = painter.breadth(person.head, person.head * 0.5)
        add(
            top,
            lambda: painter.limb(top, end, (fall, fall * 1.15, fall * 0.9), _plain(person.hair)),
            bias=-0.04,
        )


def _add_bag(painter: _Painter, add: Callable, person: Person, shoulder_y: float, hip_y: float) -> None:
    color = person.bag_color
    if person.bag == 'backpack':
        top, bottom = np.array([0, shoulder_y + 0.02, -0.1]), np.array([0, hip_y - 0.06, -0.115])
        width = painter.breadth(0.1, 0.055)

        def paint(angle: Array, height: Array) -> Array:
            pocket = (np.abs(_turned(angle, math.pi)) < 0.8) & (height > 0.13)
            return np.where(pocket[..., None], color * 0.75, color)

        add(top, lambda: painter.limb(top, bottom, (width * 0.8, width, width, width), paint), bias=-0.02)
        for side in (-1, 1):
            over = np.array([0.6 * person.shoulders * side, shoulder_y - 0.005, person.depth * 0.8])
            under = np.array([0.72 * person.shoulders * side, shoulder_y + 0.17, person.depth * 0.9])
            _add_strap(painter, add, over, under, color * 0.8)
    elif person.bag == 'shoulder':
        side = person.bag_side
        middle = np.array([(person.hips + 0.03) * side, hip_y + 0.0, -0.01])
        width = painter.breadth(0.03, 0.075)
        drop = np.array([0, 0.05, 0.0])
        add(
            middle,
            lambda: painter.limb(middle - drop, middle + drop, (width, width), _plain(color), False),
            bias=0.03,
        )
        for forward in (-1, 1):
            over = np.array([-0.5 * person.shoulders * side, shoulder_y - 0.005, person.depth * forward])
            under = np.array([person.hips * side, hip_y - 0.05, person.depth * forward * 0.8])
            _add_strap(painter, add, over, under, color * 0.7)


def _add_strap(painter: _Painter, add: Callable, over: Array, under: Array, color: Array) -> None:
    """Add a strap on the side of the body where it lies; it is hidden from behind."""
    add((over + under) / 2, lambda: painter.limb(over, under, (0.011, 0.011), _plain(color)), bias=-0.005)
