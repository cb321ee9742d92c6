// The 3D view: perspective, drawn back to front on a 2D canvas.
const NEAR_MM = 120, BONE_MM = 21, JOINT_MM = 27, TRAIL_S = 1.2;
const TRAILED = ["RFoot", "LFoot", "LWrist", "RWrist", "Head"];

class Scene {
  constructor(canvas, model) {
    this.canvas = canvas;
    this.model = model;
    this.bounds = boundsOf(model);
    this.view = {};
    this.look("free");
  }

  // Points of view; each shows all places where somebody is.
  look(name) {
    const b = this.bounds;
    const target = [0, 1, 2].map((k) => (b.low[k] + b.high[k]) / 2);
    const [wide, deep, tall] = [0, 1, 2].map((k) => b.high[k] - b.low[k]);
    const across = Math.hypot(wide, deep);
    // the lens takes in 1 / 1.6 of the distance in height; who stands in front is nearer
    const distance = Math.max(1.22 * Math.hypot(across, tall), 1.82 * tall + 0.5 * across, 2400);
    const [yaw, pitch] = { free: [-0.62, 0.24], camera: [0, 0.03], side: [-Math.PI / 2, 0.05],
      top: [0, 1.5] }[name];
    Object.assign(this.view, { yaw, pitch, distance, target });
    if (name === "camera") { // where the film's camera stands, looking where the people are
      const eye = toScene(this.model.scene, [0, 0, 0]);
      const away = [0, 1, 2].map((k) => target[k] - eye[k]);
      this.view.distance = Math.max(Math.hypot(...away), 500);
      this.view.yaw = Math.atan2(-away[0], away[1]);
      this.view.pitch = Math.asin(-away[2] / this.view.distance);
    }
  }

  basis() {
    const { yaw, pitch, distance, target } = this.view;
    const cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
    const forward = [-sy * cp, cy * cp, -sp];
    const right = [cy, sy, 0];
    const up = [-sy * sp, cy * sp, cp];
    const eye = target.map((t, k) => t - distance * forward[k]);
    return { right, up, forward, eye };
  }

  // 3 x 4, rows: right, up, forward; from the scene to the eye, mm.
  get matrix() {
    const { right, up, forward, eye } = this.basis();
    return [right, up, forward].flatMap((axis) => [...axis, -dot(axis, eye)]);
  }

  turn(dx, dy) {
    this.view.yaw -= dx;
    this.view.pitch = Math.min(Math.max(this.view.pitch + dy, -1.55), 1.55);
  }

  zoom(factor) {
    this.view.distance = Math.min(Math.max(this.view.distance * factor, 400), 60000);
  }

  // Moves by CSS pixels.
  pan(dx, dy) {
    const { right, up } = this.basis();
    const scale = this.view.distance / (this.focal || 600);
    for (let k = 0; k < 3; k++) this.view.target[k] -= scale * (dx * right[k] - dy * up[k]);
  }

  follow(rows) {
    const roots = [];
    this.model.people.forEach((person, i) => {
      if (person.visible && rows[i] >= 0) roots.push(person.inScene(rows[i], 0));
    });
    if (!roots.length) return;
    for (let k = 0; k < 3; k++) {
      const mean = roots.reduce((sum, root) => sum + root[k], 0) / roots.length;
      this.view.target[k] += 0.2 * (mean - this.view.target[k]);
    }
  }

  eyeSpace(point) {
    const b = this.now;
    const away = [point[0] - b.eye[0], point[1] - b.eye[1], point[2] - b.eye[2]];
    return [dot(b.right, away), dot(b.up, away), dot(b.forward, away)];
  }

  toScreen(seen) {
    const s = this.focal / seen[2];
    return [this.width / 2 + seen[0] * s, this.height / 2 - seen[1] * s, seen[2], s];
  }

  // Screen place, depth and px per mm; null where it is behind the eye.
  project(point) {
    const seen = this.eyeSpace(point);
    return seen[2] < NEAR_MM ? null : this.toScreen(seen);
  }

  draw(rows, shown) {
    const { context, width, height } = fitted(this.canvas);
    this.context = context;
    this.width = width;
    this.height = height;
    this.focal = 1.25 * Math.min(width, height * 1.3);
    if (shown.follow) this.follow(rows);
    this.now = this.basis();
    if (this.model.scene.floor) this.drawFloor(rows);
    this.drawCamera();
    const things = [];
    let people = 0;
    this.model.people.forEach((person, index) => {
      const row = rows[index];
      if (!person.visible || row < 0) return;
      people += 1;
      if (shown.trails) this.drawTrails(person, index, row);
      if (shown.ghosts) this.addGhosts(things, person, index, row);
      this.addPerson(things, person, index, row, shown.level);
    });
    things.sort((a, b) => b.depth - a.depth);
    for (const thing of things) thing.draw();
    this.drawAxes();
    return people;
  }

  line(a, b) {
    let from = this.eyeSpace(a), to = this.eyeSpace(b);
    if (from[2] < NEAR_MM && to[2] < NEAR_MM) return false;
    const cut = (p, q) => {
      const share = (NEAR_MM - p[2]) / (q[2] - p[2]);
      return p.map((value, k) => value + share * (q[k] - value));
    };
    if (from[2] < NEAR_MM) from = cut(from, to);
    if (to[2] < NEAR_MM) to = cut(to, from);
    const p = this.toScreen(from), q = this.toScreen(to);
    this.context.beginPath();
    this.context.moveTo(p[0], p[1]);
    this.context.lineTo(q[0], q[1]);
    this.context.stroke();
    return true;
  }

  drawFloor(rows) {
    const c = this.context, b = this.bounds;
    const [x0, y0] = [0, 1].map((k) => Math.floor(b.low[k] / 1000 - 0.6) * 1000);
    const [x1, y1] = [0, 1].map((k) => Math.ceil(b.high[k] / 1000 + 0.6) * 1000);
    const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(([x, y]) => this.project([x, y, 0]));
    if (corners.every(Boolean)) {
      c.fillStyle = colours.stage;
      c.beginPath();
      corners.forEach((p, i) => (i ? c.lineTo(p[0], p[1]) : c.moveTo(p[0], p[1])));
      c.fill();
    }
    c.lineWidth = 1;
    c.strokeStyle = colours.grid;
    for (let x = x0; x <= x1; x += 1000) this.line([x, y0, 0], [x, y1, 0]);
    for (let y = y0; y <= y1; y += 1000) this.line([x0, y, 0], [x1, y, 0]);
    c.fillStyle = colours["ink-soft"];
    c.font = "11px system-ui, sans-serif";
    c.textAlign = "center";
    const every = Math.max(x1 - x0, y1 - y0) > 9000 ? 2000 : 1000;
    const frontY = this.now.eye[1] < (y0 + y1) / 2 ? y0 - 220 : y1 + 220;
    const sideX = this.now.eye[0] < (x0 + x1) / 2 ? x0 - 220 : x1 + 220;
    for (let x = x0; x <= x1; x += every) this.label([x, frontY, 0], `${x / 1000}`);
    for (let y = y0; y <= y1; y += every) this.label([sideX, y, 0], `${y / 1000}`);
    this.label([(x0 + x1) / 2 + 500, frontY + Math.sign(frontY - y0) * 260, 0], "x, m");
    this.label([sideX + Math.sign(sideX - x0) * 260, (y0 + y1) / 2 + 500, 0], "y, m");
    this.model.people.forEach((person, index) => { // shadows: where on the floor they are
      if (!person.visible || rows[index] < 0) return;
      const root = person.inScene(rows[index], 0), under = this.project([root[0], root[1], 0]);
      if (!under) return;
      c.strokeStyle = colours.ink;
      c.globalAlpha = 0.1;
      c.lineWidth = Math.max(3 * BONE_MM * under[3], 2);
      c.beginPath(); // one stroke: where limbs cross it is no darker
      for (const [a, d] of this.model.edges) {
        const p = person.inScene(rows[index], a), q = person.inScene(rows[index], d);
        const from = this.project([p[0], p[1], 0]), to = this.project([q[0], q[1], 0]);
        if (!from || !to) continue;
        c.moveTo(from[0], from[1]);
        c.lineTo(to[0], to[1]);
      }
      c.stroke();
      c.globalAlpha = 1;
    });
  }

  label(point, text) {
    const at = this.project(point);
    if (at) this.context.fillText(text, at[0], at[1] + 4);
  }

  drawCamera() {
    const c = this.context, m = this.model, [fx, fy, cx, cy] = m.camera_px, depth = 420;
    const eye = toScene(m.scene, [0, 0, 0]);
    const corner = (u, v) => toScene(m.scene, [(u - cx) / fx * depth, (v - cy) / fy * depth, depth]);
    const corners = [corner(0, 0), corner(m.width, 0), corner(m.width, m.height), corner(0, m.height)];
    c.strokeStyle = colours["ink-soft"];
    c.lineWidth = 1.25;
    corners.forEach((point, i) => {
      this.line(eye, point);
      this.line(point, corners[(i + 1) % 4]);
    });
    const top = corner(m.width / 2, -0.22 * m.height);
    this.line(corners[0], top);
    this.line(top, corners[1]);
    if (m.scene.floor) { // how high it stands
      c.setLineDash([3, 4]);
      this.line(eye, [eye[0], eye[1], 0]);
      c.setLineDash([]);
    }
    const at = this.project(eye);
    if (at && at[2] > 900) {
      c.fillStyle = colours["ink-soft"];
      c.font = "11px system-ui, sans-serif";
      c.textAlign = "center";
      c.fillText("camera", at[0], at[1] + 16);
    }
  }

  drawTrails(person, index, row) {
    const c = this.context;
    for (const name of TRAILED) {
      const joint = this.model.joints.indexOf(name);
      c.strokeStyle = colourOf(this.model, index, joint);
      for (let r = row; r > 0 && person.time_s[row] - person.time_s[r - 1] < TRAIL_S; r--) {
        c.globalAlpha = 0.75 * (1 - (person.time_s[row] - person.time_s[r - 1]) / TRAIL_S);
        c.lineWidth = 2;
        if (person.time_s[r] - person.time_s[r - 1] < 0.25)
          this.line(person.inScene(r, joint), person.inScene(r - 1, joint));
      }
    }
    c.globalAlpha = 1;
  }

  addGhosts(things, person, index, row) {
    const c = this.context;
    for (let g = 0; g < person.nGhosts; g++) {
      for (const [a, b] of this.model.edges) {
        const p = this.project(person.ghost(row, g, a)), q = this.project(person.ghost(row, g, b));
        if (!p || !q) continue;
        const colour = colourOf(this.model, index, b);
        things.push({ depth: (p[2] + q[2]) / 2 + 40, draw: () => {
          c.globalAlpha = 0.16;
          c.strokeStyle = colour;
          c.lineWidth = Math.max(0.55 * BONE_MM * p[3], 1);
          c.beginPath();
          c.moveTo(p[0], p[1]);
          c.lineTo(q[0], q[1]);
          c.stroke();
          c.globalAlpha = 1;
        } });
      }
    }
  }

  addPerson(things, person, index, row, level) {
    const points = this.model.joints.map((_, j) => person.inScene(row, j));
    const places = points.map((point) => this.project(point));
    for (const [a, b] of this.model.edges) {
      const p = places[a], q = places[b];
      if (p && q) this.addBone(things, p, q, colourOf(this.model, index, b), person.isSeen(row, b));
    }
    places.forEach((place, joint) => {
      if (!place) return;
      const colour = colourOf(this.model, index, joint), seen = person.isSeen(row, joint);
      things.push({ depth: place[2] - 30, draw: () => this.ball(place, colour, seen) });
      const factor = level ? person.factor(row, joint) : null;
      const radius = person.radius[level];
      if (factor && radius) {
        const ellipse = this.outline(points[joint], factor, radius);
        things.push({ depth: place[2] - 35, draw: () => this.cloud(place, ellipse, colour) });
      }
    });
  }

  addBone(things, p, q, colour, seen) {
    const c = this.context, width = Math.max(BONE_MM * (p[3] + q[3]) / 2 * 1.6, 2.2);
    things.push({ depth: (p[2] + q[2]) / 2, draw: () => {
      const stroke = (style, wide, alpha) => {
        c.strokeStyle = style;
        c.lineWidth = wide;
        c.globalAlpha = alpha;
        c.beginPath();
        c.moveTo(p[0], p[1]);
        c.lineTo(q[0], q[1]);
        c.stroke();
      };
      stroke(colours.card, width + 2.5, 0.9);
      stroke(colour, width, seen ? 1 : 0.5);
      stroke("#ffffff", width * 0.3, 0.28);
      c.globalAlpha = 1;
    } });
  }

  // A joint; hollow where the detector did not see it.
  ball(place, colour, seen) {
    const c = this.context, r = Math.max(JOINT_MM * place[3], 2);
    c.beginPath();
    c.arc(place[0], place[1], r, 0, 2 * Math.PI);
    c.fillStyle = seen ? mixed(colour, "#ffffff", 0.16) : colours.card;
    c.fill();
    c.lineWidth = 1.5;
    c.strokeStyle = seen ? mixed(colour, "#000000", 0.18) : colour;
    c.stroke();
  }

  // What the eye sees of an ellipsoid about a point: the projection's derivative takes it there.
  outline(point, factor, radius) {
    const seen = this.eyeSpace(point), s = this.focal / seen[2], b = this.now;
    const inScene = times(this.model.scene.rotation, factor);
    const across = b.right.map((value, k) => s * (value - seen[0] / seen[2] * b.forward[k]));
    const down = b.up.map((value, k) => -s * (value - seen[1] / seen[2] * b.forward[k]));
    const row = (axis) => [0, 1, 2].map(
      (k) => axis[0] * inScene[k] + axis[1] * inScene[3 + k] + axis[2] * inScene[6 + k]);
    return ellipseOf([...row(across), ...row(down)], radius);
  }

  cloud(place, ellipse, colour) {
    const c = this.context;
    c.save();
    c.translate(place[0], place[1]);
    c.rotate(ellipse.angle);
    c.beginPath();
    c.ellipse(0, 0, Math.max(ellipse.long, 0.5), Math.max(ellipse.short, 0.5), 0, 0, 2 * Math.PI);
    c.globalAlpha = 0.13;
    c.fillStyle = colour;
    c.fill();
    c.globalAlpha = 0.5;
    c.lineWidth = 1;
    c.strokeStyle = colour;
    c.stroke();
    c.restore();
  }

  drawAxes() {
    const c = this.context, b = this.now, x0 = 40, y0 = this.height - 38;
    const axes = [0, 1, 2].map((k) => ({
      x: 26 * b.right[k], y: -26 * b.up[k], depth: b.forward[k], name: "xyz"[k],
      colour: [colours.ax, colours.ay, colours.az][k],
    })).sort((p, q) => q.depth - p.depth);
    c.font = "600 11px system-ui, sans-serif";
    c.textAlign = "center";
    for (const axis of axes) {
      c.strokeStyle = c.fillStyle = axis.colour;
      c.lineWidth = 2.5;
      c.beginPath();
      c.moveTo(x0, y0);
      c.lineTo(x0 + axis.x, y0 + axis.y);
      c.stroke();
      c.fillText(axis.name, x0 + 1.42 * axis.x, y0 + 1.42 * axis.y + 4);
    }
  }
}

function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// The box of all places of all people; the 2nd and 98th of a hundred, since one wild frame
// would make everybody small.
function boundsOf(model) {
  const low = [0, 0, 0], high = [1000, 1000, 1000];
  for (let k = 0; k < 3; k++) {
    const values = [];
    for (const person of model.people) {
      const step = Math.max(Math.floor(person.n / 200), 1);
      for (let row = 0; row < person.n; row += step)
        for (const joint of [0, 3, 6, 10, 13, 16]) values.push(person.inScene(row, joint)[k]);
    }
    const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
    if (!sorted.length) continue;
    low[k] = sorted[Math.floor(0.02 * (sorted.length - 1))];
    high[k] = sorted[Math.ceil(0.98 * (sorted.length - 1))];
  }
  if (model.scene.floor) low[2] = Math.min(low[2], 0);
  return { low, high };
}
