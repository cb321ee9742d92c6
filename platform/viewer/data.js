"use strict";
// What Python packed: arrays in base64, little-endian; NaN where a value is unknown.
function unpack(packed) {
  const text = atob(packed.data);
  const raw = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) raw[i] = text.charCodeAt(i);
  if (packed.type === "u8") return raw;
  const view = new DataView(raw.buffer);
  const wide = packed.type === "f32" ? 4 : 2;
  const values = new Float32Array(raw.length / wide);
  for (let i = 0; i < values.length; i++) {
    if (wide === 4) values[i] = view.getFloat32(4 * i, true);
    else {
      const count = view.getInt16(2 * i, true);
      values[i] = count === -32768 ? NaN : count * packed.step;
    }
  }
  return values;
}

const PARTS = ["poses_mm", "root_mm", "std_mm", "keypoints_px", "confidence", "seen", "camera_px",
  "factor_mm", "hypotheses_mm"];

// One person: arrays by frame, points in the camera's frame and in the one that is shown.
class Person {
  constructor(data, scene, nJoints) {
    Object.assign(this, data);
    this.n = data.time_s.length;
    this.j = nJoints;
    this.visible = true;
    this.scene = scene;
    for (const part of PARTS) this[part] = data[part] ? unpack(data[part]) : null;
    this.nGhosts = data.hypotheses_mm ? data.hypotheses_mm.shape[1] : 0;
    for (const angle of this.angles) {
      for (const part of ["value", "low", "high"]) angle[part] = unpack(angle[part]);
    }
  }

  // Joint of a frame in the camera's frame, mm.
  inCamera(row, joint, out) {
    const p = 3 * (row * this.j + joint), r = 3 * row;
    for (let k = 0; k < 3; k++) out[k] = this.poses_mm[p + k] + this.root_mm[r + k];
    return out;
  }

  inScene(row, joint) {
    return toScene(this.scene, this.inCamera(row, joint, [0, 0, 0]));
  }

  ghost(row, which, joint) {
    const p = 3 * ((row * this.nGhosts + which) * this.j + joint), r = 3 * row;
    const h = this.hypotheses_mm, root = this.root_mm;
    return toScene(this.scene, [h[p] + root[r], h[p + 1] + root[r + 1], h[p + 2] + root[r + 2]]);
  }

  // Lower triangle L of the covariance L L^T in the camera's axes, rows; null where unknown.
  factor(row, joint) {
    if (!this.factor_mm) return null;
    const at = 6 * (row * this.j + joint), f = this.factor_mm;
    if (Number.isNaN(f[at])) return null;
    return [f[at], 0, 0, f[at + 1], f[at + 2], 0, f[at + 3], f[at + 4], f[at + 5]];
  }

  isSeen(row, joint) {
    return this.seen[row * this.j + joint] === 1;
  }
}

function toScene(scene, point) {
  const r = scene.rotation, o = scene.origin_mm;
  const x = point[0] - o[0], y = point[1] - o[1], z = point[2] - o[2];
  return [r[0] * x + r[1] * y + r[2] * z, r[3] * x + r[4] * y + r[5] * z,
    r[6] * x + r[7] * y + r[8] * z];
}

// Product of two 3 x 3 matrices, row by row.
function times(a, b) {
  const out = new Array(9).fill(0);
  for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) for (let k = 0; k < 3; k++)
    out[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  return out;
}

// Half axes and angle of the ellipse { M u : |u| <= radius }, M 2 x 3 by rows.
function ellipseOf(m, radius) {
  const a = m[0] * m[0] + m[1] * m[1] + m[2] * m[2];
  const b = m[0] * m[3] + m[1] * m[4] + m[2] * m[5];
  const c = m[3] * m[3] + m[4] * m[4] + m[5] * m[5];
  const mean = (a + c) / 2, apart = Math.hypot((a - c) / 2, b);
  return {
    long: radius * Math.sqrt(Math.max(mean + apart, 0)),
    short: radius * Math.sqrt(Math.max(mean - apart, 0)),
    angle: 0.5 * Math.atan2(2 * b, a - c),
  };
}

// Colours of the style sheet, read again when the theme changes.
const colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["page", "card", "ink", "ink-soft", "line", "grid", "accent", "right", "left",
    "trunk", "stage", "p0", "p1", "p2", "p3", "p4", "p5", "ax", "ay", "az"])
    colours[name] = style.getPropertyValue(`--${name}`).trim();
}

// A colour of the form #rrggbb with part of another mixed in.
function mixed(colour, other, share) {
  const parts = [1, 3, 5].map((i) => {
    const a = parseInt(full(colour).slice(i, i + 2), 16);
    const b = parseInt(full(other).slice(i, i + 2), 16);
    return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
  });
  return `#${parts.join("")}`;
}

function full(colour) {
  return colour.length === 4 ? colour.replace(/[0-9a-f]/gi, "$&$&") : colour;
}

// Sets a canvas to the pixels of the screen; returns its context in CSS pixels.
function fitted(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const w = Math.max(Math.round(width * scale), 1), h = Math.max(Math.round(height * scale), 1);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineCap = context.lineJoin = "round";
  return { context, width, height };
}

// One person alone is drawn by sides, as in the reports; several by their own colours.
function colourOf(model, index, joint) {
  const isLeft = model.left.includes(joint), isRight = model.right.includes(joint);
  if (model.people.length === 1)
    return isLeft ? colours.left : isRight ? colours.right : colours.trunk;
  const own = colours[`p${index % 6}`];
  return isRight ? mixed(own, "#000000", 0.36) : isLeft ? own : mixed(own, "#000000", 0.15);
}
