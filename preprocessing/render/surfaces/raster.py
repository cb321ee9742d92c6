"""Rasteriser: round cones seen by a pinhole camera, z-buffered, then shaded where they are seen.

Every pixel has SUB x SUB samples. Rays are (x, y, 1) t from the camera's centre, so that t is the
depth z. Everything is in the camera frame, in metres.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from diffpose.preprocessing.render.surfaces.parts import (
    END_A,
    END_B,
    EYE,
    LENGTH,
    MATERIAL,
    PERSON,
    RADIUS_A,
    RADIUS_B,
    REACH,
    TURN,
    U_START,
    V_START,
)
from diffpose.preprocessing.render.surfaces.patterns import PLAIN, noise, share_of_second

SUB = 2
NEAREST_M = 0.15

# Columns of the material table.
FIRST, SECOND, KIND, PERIOD, SHINE, FOLDS, DETAIL, SIZE, PLACE, THIRD = (
    0,
    3,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
)
N_MATERIAL = 16
NONE, STRIP, PRINT, V_NECK, BUTTONS, BAND, BACK_PRINT = range(7)


@njit(cache=True, fastmath=True, nogil=True)
def rasterise(table, camera, first_row, row_step, depth, owner, boxes):  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    """Draw parts into the z-buffer.

    Args:
        table: (N, N_COLUMNS), of parts.tables.
        camera: (4,), fx, fy, cx, cy in px.
        first_row: first row of samples to draw; with row_step 2, two moments share a picture.
        row_step: rows of samples are drawn each so many.
        depth: (rows * SUB, columns * SUB) float32, changed in place.
        owner: the same shape, int16: which part is seen; changed in place.
        boxes: (people, 4), x0, y0, x1, y1 in px, widened in place to each whole silhouette,
            whether or not something stands before it.
    """
    n_rows, n_columns = depth.shape
    fx, fy, cx, cy = camera[0] * SUB, camera[1] * SUB, camera[2] * SUB, camera[3] * SUB
    for p in range(table.shape[0]):
        row = table[p]
        ra, rb, length = row[RADIUS_A], row[RADIUS_B], row[LENGTH]
        x_low, x_high, y_low, y_high = 1e9, -1e9, 1e9, -1e9
        behind = False
        for end in range(2):
            at = END_A if end == 0 else END_B
            reach = (ra if end == 0 else rb) * row[REACH]
            near = row[at + 2] - reach
            if near < NEAREST_M:
                behind = True
                break
            sx, sy = row[at] / row[at + 2], row[at + 1] / row[at + 2]
            wx = reach / near * math.sqrt(1.0 + sx * sx) * 1.02
            wy = reach / near * math.sqrt(1.0 + sy * sy) * 1.02
            x_low, x_high = min(x_low, sx - wx), max(x_high, sx + wx)
            y_low, y_high = min(y_low, sy - wy), max(y_high, sy + wy)
        if behind:
            continue
        j0 = max(math.floor(x_low * fx + cx - 0.5), 0)
        j1 = min(math.ceil(x_high * fx + cx - 0.5) + 1, n_columns)
        i0 = max(math.floor(y_low * fy + cy - 0.5), 0)
        i1 = min(math.ceil(y_high * fy + cy - 0.5) + 1, n_rows)
        i0 += (first_row - i0) % row_step
        if j0 >= j1 or i0 >= i1:
            continue
        k = 0.0 if length < 1e-3 else (rb - ra) / length
        if k > 0.98 or k < -0.98:  # one ball holds the other: draw the two balls
            k = 2.0
        cc = 1.0 - k * k
        ox, oy, oz = row[EYE], row[EYE + 1], row[EYE + 2]
        across = ox * ox + oz * oz
        ball_a = across + oy * oy - ra * ra
        ball_b = across + (oy - length) ** 2 - rb * rb
        side = ra + k * oy
        cone = cc * across - side * side
        y_start, y_stop = -k * ra, length - k * rb
        person = int(row[PERSON])
        seen_j0, seen_j1, seen_i0, seen_i1 = n_columns, -1, n_rows, -1
        for i in range(i0, i1, row_step):
            ry = (i + 0.5 - cy) / fy
            bx = row[1] * ry + row[2]
            by = row[4] * ry + row[5]
            bz = row[7] * ry + row[8]
            for j in range(j0, j1):
                rx = (j + 0.5 - cx) / fx
                dx, dy, dz = bx + row[0] * rx, by + row[3] * rx, bz + row[6] * rx
                plane = dx * dx + dz * dz
                along = plane + dy * dy
                half = ox * dx + oz * dz
                best = 1e9
                if cc > 0.0 and length >= 1e-3:
                    qa = cc * plane - k * k * dy * dy
                    qb = cc * half - k * dy * side
                    inside = qb * qb - qa * cone
                    if inside > 0.0 and abs(qa) > 1e-12:
                        t = (-qb - math.sqrt(inside)) / qa
                        y = oy + t * dy
                        if t > 0.0 and y_start <= y <= y_stop:
                            best = t
                        elif qa < 0.0:  # seen along its axis: the other root is the near one
                            t = (-qb + math.sqrt(inside)) / qa
                            y = oy + t * dy
                            if t > 0.0 and y_start <= y <= y_stop:
                                best = t
                qb = half + oy * dy
                inside = qb * qb - along * ball_a
                if inside > 0.0:
                    t = (-qb - math.sqrt(inside)) / along
                    if 0.0 < t < best:
                        best = t
                qb = half + (oy - length) * dy
                inside = qb * qb - along * ball_b
                if inside > 0.0:
                    t = (-qb - math.sqrt(inside)) / along
                    if 0.0 < t < best:
                        best = t
                if best < 1e8:
                    seen_j0, seen_j1 = min(seen_j0, j), max(seen_j1, j)
                    seen_i0, seen_i1 = min(seen_i0, i), max(seen_i1, i)
                    if best < depth[i, j]:
                        depth[i, j] = best
                        owner[i, j] = p
        if seen_j1 >= 0:
            boxes[person, 0] = min(boxes[person, 0], seen_j0 / SUB)
            boxes[person, 1] = min(boxes[person, 1], seen_i0 / SUB)
            boxes[person, 2] = max(boxes[person, 2], (seen_j1 + 1) / SUB)
            boxes[person, 3] = max(boxes[person, 3], (seen_i1 + row_step) / SUB)


@njit(cache=True, fastmath=True, nogil=True)
def _detail(kind, size, place, u, v, front):  # type: ignore[no-untyped-def]  # noqa: PLR0911
    """Tell whether a garment's detail covers the point (u, v) of its front or back."""
    if kind == BAND:
        return abs(v - place) < size
    if kind == BACK_PRINT:
        return (not front) and (u / size) ** 2 + ((v - place) / (1.4 * size)) ** 2 < 1.0
    if not front:
        return False
    if kind == STRIP:
        return abs(u) < size
    if kind == PRINT:
        return abs(u) < size and abs(v - place) < 0.8 * size
    if kind == V_NECK:
        return v > place and abs(u) < 0.55 * (v - place)
    if kind == BUTTONS:
        beat = v / 0.09
        beat = (beat - math.floor(beat) - 0.5) * 0.09
        return u * u + beat * beat < size * size
    return False


@njit(cache=True, fastmath=True, nogil=True)
def shade(  # type: ignore[no-untyped-def]  # noqa: PLR0915
    table, materials, camera, light, first_row, row_step, depth, owner, region, colour, cover
):
    """Add the light of what is seen to the pixels' sums.

    Args:
        table: (N, N_COLUMNS).
        materials: (M, N_MATERIAL), linear light.
        camera: (4,), px.
        light: (5, 3): direction to the sun, its colour, up, ambient colour from above, from below.
        first_row: as for rasterise.
        row_step: as for rasterise.
        depth: z-buffer.
        owner: which part is seen, -1 none.
        region: y0, x0, y1, x1 in px.
        colour: (rows, columns, 3) float32, added to in place.
        cover: (rows, columns) float32, share of samples that show a person; added to in place.
    """
    fx, fy, cx, cy = camera[0] * SUB, camera[1] * SUB, camera[2] * SUB, camera[3] * SUB
    sun_x, sun_y, sun_z = light[0, 0], light[0, 1], light[0, 2]
    up_x, up_y, up_z = light[2, 0], light[2, 1], light[2, 2]
    weight = 1.0 / (SUB * SUB)
    start = region[0] * SUB
    start += (first_row - start) % row_step
    for i in range(start, region[2] * SUB, row_step):
        ry = (i + 0.5 - cy) / fy
        for j in range(region[1] * SUB, region[3] * SUB):
            p = owner[i, j]
            if p < 0:
                continue
            row = table[p]
            t = depth[i, j]
            rx = (j + 0.5 - cx) / fx
            x = row[EYE] + t * (row[0] * rx + row[1] * ry + row[2])
            y = row[EYE + 1] + t * (row[3] * rx + row[4] * ry + row[5])
            z = row[EYE + 2] + t * (row[6] * rx + row[7] * ry + row[8])
            ra, rb, length = row[RADIUS_A], row[RADIUS_B], row[LENGTH]
            k = 0.0 if length < 1e-3 else (rb - ra) / length
            ny = y
            if y > length - k * rb:
                ny = y - length
            elif y >= -k * ra:
                ny = -k * math.sqrt((x * x + z * z) / max(1.0 - k * k, 1e-3))
            nx = row[0] * x + row[3] * ny + row[6] * z
            n2 = row[1] * x + row[4] * ny + row[7] * z
            nz = row[2] * x + row[5] * ny + row[8] * z
            norm = 1.0 / math.sqrt(nx * nx + n2 * n2 + nz * nz + 1e-20)
            nx, n2, nz = nx * norm, n2 * norm, nz * norm
            m = materials[int(row[MATERIAL])]
            folds = m[FOLDS]
            kind = int(m[KIND])
            detail = int(m[DETAIL])
            u, v = 0.0, 0.0
            if folds > 0.0 or kind != PLAIN or detail != NONE:
                u = row[U_START] + math.atan2(x, z) * row[TURN]
                v = row[V_START] + y
            r, g, b = m[FIRST], m[FIRST + 1], m[FIRST + 2]
            if kind != PLAIN:
                s = share_of_second(kind, u / m[PERIOD] + 0.2, v / m[PERIOD] + 50.0)
                r += s * (m[SECOND] - r)
                g += s * (m[SECOND + 1] - g)
                b += s * (m[SECOND + 2] - b)
            if detail != NONE:
                # the back is drawn with u = 0 in its middle
                around = u if z > 0.0 else (u - math.copysign(math.pi * row[TURN], u))
                if _detail(detail, m[SIZE], m[PLACE], around, v, z > 0.0):
                    r, g, b = m[THIRD], m[THIRD + 1], m[THIRD + 2]
            crease = 1.0
            if folds > 0.0:
                crease += folds * (noise(16.0 * u + 3.0 * v, 9.0 * v + row[TURN] * 500.0) - 0.5)
                crease += 0.6 * folds * (noise(31.0 * u - 12.0 * v, 24.0 * v + 9.0) - 0.5)
            facing = nx * sun_x + n2 * sun_y + nz * sun_z
            lit = max(0.12 + 0.88 * facing, 0.0) * crease
            sky = 0.5 + 0.5 * (nx * up_x + n2 * up_y + nz * up_z)
            gloss = 0.0
            if m[SHINE] > 0.0:
                back = 1.0 / math.sqrt(rx * rx + ry * ry + 1.0)
                hx, hy, hz = sun_x - rx * back, sun_y - ry * back, sun_z - back
                mirror = (hx * nx + hy * n2 + hz * nz) / math.sqrt(
                    hx * hx + hy * hy + hz * hz + 1e-9
                )
                if mirror > 0.0 and facing > 0.0:
                    mirror *= mirror
                    mirror *= mirror
                    mirror *= mirror
                    gloss = m[SHINE] * mirror * mirror
            # what turns away from the camera gets less light from it: soft dark rims
            rim = -(nx * rx + n2 * ry + nz) / math.sqrt(rx * rx + ry * ry + 1.0)
            rim = 0.72 + 0.28 * min(max(rim, 0.0) * 1.6, 1.0)
            sky_c = sky * crease
            pi, pj = i // SUB, j // SUB
            cr = light[3, 0] * sky_c + light[4, 0] * (1.0 - sky) + light[1, 0] * lit
            cg = light[3, 1] * sky_c + light[4, 1] * (1.0 - sky) + light[1, 1] * lit
            cb = light[3, 2] * sky_c + light[4, 2] * (1.0 - sky) + light[1, 2] * lit
            colour[pi, pj, 0] += np.float32(weight * rim * (r * cr + gloss * light[1, 0]))
            colour[pi, pj, 1] += np.float32(weight * rim * (g * cg + gloss * light[1, 1]))
            colour[pi, pj, 2] += np.float32(weight * rim * (b * cb + gloss * light[1, 2]))
            cover[pi, pj] += np.float32(weight)
