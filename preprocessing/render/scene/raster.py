"""Drawing what stands still: floor, walls, boxes, sky and their shadows, once per film."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffpose.preprocessing.render.scene.scene import (
    CEILING,
    FLOOR,
    N_ROOM,
    OTHER_WALL,
    WALL,
    Scene,
)
from diffpose.preprocessing.render.surfaces.patterns import PLAIN, noise, share_of_second
from diffpose.preprocessing.render.surfaces.raster import KIND, PERIOD, SUB

# No NaN: compiled code that is told to be fast may take any comparison with it for true.
OFF_FLOOR = -1e9


@dataclass(frozen=True)
class Backdrop:
    """A drawn scene.

    Attributes:
        colour: (rows, columns, 3) float32, linear light.
        depth: (rows * SUB, columns * SUB) float32, z in metres.
        floor_m: (rows, columns, 2) float32, place on the floor that a pixel shows, OFF_FLOOR
            elsewhere.
    """

    colour: NDArray[np.float32]
    depth: NDArray[np.float32]
    floor_m: NDArray[np.float32]


def rasterise_scene(
    scene: Scene,
    rotation: NDArray[np.float64],
    position_m: NDArray[np.float64],
    camera: NDArray[np.float64],
    size: tuple[int, int],
) -> Backdrop:
    """Draw a scene as a camera sees it.

    Args:
        scene: what stands there.
        rotation: (3, 3), world -> camera.
        position_m: (3,), of the camera.
        camera: (4,), fx, fy, cx, cy in px.
        size: rows, columns in px.
    """
    rows, columns = size
    colour = np.zeros((rows, columns, 3), dtype=np.float32)
    depth = np.empty((rows * SUB, columns * SUB), dtype=np.float32)
    floor = np.full((rows, columns, 2), OFF_FLOOR, dtype=np.float32)
    _rasterise(
        rotation,
        position_m,
        camera,
        scene.outdoors,
        scene.room,
        scene.boxes,
        scene.materials,
        np.stack([scene.sun, scene.sun_colour, scene.sky, scene.ground]),
        scene.uneven,
        scene.seed_offset,
        colour,
        depth,
        floor,
    )
    return Backdrop(colour, depth, floor)


@njit(cache=True, fastmath=True, nogil=True)
def _hit_box(box, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Return t of the entry into a box (1e9: none), its face's axis, and the place in its frame."""
    c, s = box[6], box[7]
    px, py, pz = ox - box[0], oy - box[1], oz - box[2]
    lx, ly = c * px + s * py, c * py - s * px
    ex, ey = c * dx + s * dy, c * dy - s * dx
    enter, leave, axis = 0.0, 1e9, -1
    for k in range(3):
        o = lx if k == 0 else (ly if k == 1 else pz)
        d = ex if k == 0 else (ey if k == 1 else dz)
        half = box[3 + k]
        if abs(d) < 1e-12:
            if abs(o) > half:
                return 1e9, -1, 0.0, 0.0, 0.0
            continue
        t0, t1 = (-half - o) / d, (half - o) / d
        if t0 > t1:
            t0, t1 = t1, t0
        if t0 > enter:
            enter, axis = t0, k
        leave = min(leave, t1)
    if axis < 0 or enter >= leave:
        return 1e9, -1, 0.0, 0.0, 0.0
    return enter, axis, lx + enter * ex, ly + enter * ey, pz + enter * dz


@njit(cache=True, fastmath=True, nogil=True)
def _albedo(m, u, v, footprint, out):  # type: ignore[no-untyped-def]
    """Fill in the colour at (u, v); patterns finer than the footprint fade into their mean."""
    kind = int(m[KIND])
    s = 0.0
    if kind != PLAIN:
        s = share_of_second(kind, u / m[PERIOD], v / m[PERIOD])
        blur = min(max(2.5 * footprint / m[PERIOD] - 0.3, 0.0), 1.0)
        s += blur * (0.4 - s)
    for k in range(3):
        out[k] = m[k] + s * (m[3 + k] - m[k])


@njit(cache=True, fastmath=True, nogil=True)
def _rasterise(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    rotation,
    eye,
    camera,
    outdoors,
    room,
    boxes,
    materials,
    light,
    uneven,
    shift,
    colour,
    depth,
    floor,
):
    n_rows, n_columns = depth.shape
    fx, fy, cx, cy = camera[0] * SUB, camera[1] * SUB, camera[2] * SUB, camera[3] * SUB
    weight = np.float32(1.0 / (SUB * SUB))
    turn_c, turn_s = math.cos(room[3]), math.sin(room[3])
    sun = light[0]
    albedo = np.empty(3)
    for i in range(n_rows):
        for j in range(n_columns):
            rx, ry = (j + 0.5 - cx) / fx, (i + 0.5 - cy) / fy
            dx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0]
            dy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1]
            dz = rotation[0, 2] * rx + rotation[1, 2] * ry + rotation[2, 2]
            t, row, u, v = 1e9, -1, 0.0, 0.0
            nx, ny, nz = 0.0, 0.0, 1.0
            if dz < -1e-9:
                t, row = -eye[2] / dz, FLOOR
            if not outdoors:
                ex, ey = turn_c * dx + turn_s * dy, turn_c * dy - turn_s * dx
                ox, oy = turn_c * eye[0] + turn_s * eye[1], turn_c * eye[1] - turn_s * eye[0]
                if dz > 1e-9 and (room[2] - eye[2]) / dz < t:
                    t, row, nz = (room[2] - eye[2]) / dz, CEILING, -1.0
                for k in range(2):
                    o, d = (ox, ex) if k == 0 else (oy, ey)
                    if abs(d) > 1e-9:
                        side = room[k] if d > 0 else -room[k]
                        at = (side - o) / d
                        if at < t:
                            t, row = at, (WALL if k == 0 else OTHER_WALL)
                            sign = -1.0 if d > 0 else 1.0
                            wx, wy = (sign, 0.0) if k == 0 else (0.0, sign)
                            nx = turn_c * wx - turn_s * wy
                            ny = turn_s * wx + turn_c * wy
                            nz = 0.0
                            u = (oy + at * ey) if k == 0 else (ox + at * ex)
                            v = eye[2] + at * dz
            for b in range(boxes.shape[0]):
                at, axis, lx, ly, lz = _hit_box(boxes[b], eye[0], eye[1], eye[2], dx, dy, dz)
                if at < t:
                    t, row = at, N_ROOM + b
                    c, s = boxes[b, 6], boxes[b, 7]
                    if axis == 2:
                        nx, ny, nz = 0.0, 0.0, (1.0 if lz > 0 else -1.0)
                        u, v = lx, ly
                    elif axis == 0:
                        sign = 1.0 if lx > 0 else -1.0
                        nx, ny, nz, u, v = sign * c, sign * s, 0.0, ly, lz
                    else:
                        sign = 1.0 if ly > 0 else -1.0
                        nx, ny, nz, u, v = -sign * s, sign * c, 0.0, lx, lz
            pi, pj = i // SUB, j // SUB
            if row < 0 or t > 200.0:
                rise = max(dz, 0.0) / math.sqrt(dx * dx + dy * dy + dz * dz)
                cloud = 0.25 * noise(dx / (dz + 0.25) * 1.2 + shift, dy / (dz + 0.25) * 1.2)
                depth[i, j] = 1e6
                for k in range(3):
                    tone = 1.1 - rise * (0.5 if k == 0 else (0.35 if k == 1 else 0.0))
                    colour[pi, pj, k] += weight * np.float32(light[2, k] * tone + cloud)
                continue
            depth[i, j] = t
            hx, hy, hz = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
            if row in (FLOOR, CEILING):
                u, v = turn_c * hx + turn_s * hy, turn_c * hy - turn_s * hx
            if row == FLOOR:
                floor[pi, pj, 0] = hx
                floor[pi, pj, 1] = hy
            length = math.sqrt(dx * dx + dy * dy + dz * dz)
            slant = max(abs(nx * dx + ny * dy + nz * dz) / length, 0.03)
            _albedo(materials[row], u + shift, v + shift, t / (fx * slant), albedo)
            facing = nx * sun[0] + ny * sun[1] + nz * sun[2]
            if not outdoors and facing < 0.25 and row != CEILING:
                facing = 0.25 + 0.3 * (facing - 0.25)  # walls send light back into a room
            if facing > 0.0:
                for b in range(boxes.shape[0]):
                    if boxes[b, 4] > 4.0:
                        continue  # a wall
                    at, _, _, _, _ = _hit_box(
                        boxes[b],
                        hx + 1e-3 * nx,
                        hy + 1e-3 * ny,
                        hz + 1e-3 * nz,
                        sun[0],
                        sun[1],
                        sun[2],
                    )
                    if at < 20.0:
                        facing *= 0.25
                        break
            facing = max(facing, 0.0)
            above = 0.5 + 0.5 * nz
            pool = 1.0 + uneven * (noise(0.45 * hx + shift, 0.45 * hy + 0.6 * hz) - 0.5) * 1.6
            if row in (WALL, OTHER_WALL, FLOOR):
                # darker in the corner of floor and wall
                corner = 1.0
                if row != FLOOR and not outdoors:
                    corner = 0.75 + 0.25 * min(hz / 0.5, 1.0)
                pool *= corner
            haze = min(t / 90.0, 1.0) if outdoors else 0.0
            for k in range(3):
                lit = light[2, k] * above + light[3, k] * (1.0 - above) + light[1, k] * facing
                value = albedo[k] * lit * pool
                value += haze * (light[2, k] * 1.1 - value)
                colour[pi, pj, k] += weight * np.float32(value)
