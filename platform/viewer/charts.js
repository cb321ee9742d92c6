// Plots over time, one row a curve, with a band or error bars and a cursor.
const GUTTER = 50, FOOT = 20;

class Chart {
  constructor(canvas, seek) {
    this.canvas = canvas;
    this.rows = [];
    this.span = [0, 1];
    const go = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - GUTTER) / (box.width - GUTTER - 12);
      seek(this.span[0] + Math.min(Math.max(share, 0), 1) * (this.span[1] - this.span[0]));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) go(event);
    });
  }

  // times: of the rows' values; rows: { name, unit, colour, value, low, high, bars, digits }.
  set(times, rows, span) {
    Object.assign(this, { times, rows, span });
    for (const row of rows) {
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < times.length; i++) {
        for (const v of [row.value[i], row.low[i], row.high[i]]) {
          if (v < low) low = v;
          if (v > high) high = v;
        }
      }
      if (!(low <= high)) [low, high] = [0, 1];
      const least = row.least || 0, missing = Math.max(least - (high - low), 0) / 2;
      row.range = [low - missing - 1e-6, high + missing + 1e-6];
    }
  }

  draw(time, at) {
    const { context: c, width, height } = fitted(this.canvas);
    if (!this.rows.length) return;
    const right = width - 12, tall = (height - FOOT - 6) / this.rows.length;
    const x = (t) => GUTTER + (t - this.span[0]) / (this.span[1] - this.span[0]) * (right - GUTTER);
    this.drawTimes(c, x, height);
    this.rows.forEach((row, i) => this.drawRow(c, row, x, 20 + i * tall, tall - 22, right, at));
    c.strokeStyle = colours.ink;
    c.globalAlpha = 0.55;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x(time), 4);
    c.lineTo(x(time), height - FOOT);
    c.stroke();
    c.globalAlpha = 1;
  }

  drawTimes(c, x, height) {
    const step = niceStep((this.span[1] - this.span[0]) / 6);
    c.font = "11px system-ui, sans-serif";
    c.textAlign = "center";
    c.fillStyle = colours["ink-soft"];
    for (let t = Math.ceil(this.span[0] / step) * step; t <= this.span[1] + 1e-9; t += step) {
      const last = t + step > this.span[1] + 1e-9;
      c.fillText(`${+t.toFixed(3)}${last ? " s" : ""}`, x(t) - (last ? 4 : 0), height - 5);
    }
  }

  drawRow(c, row, x, top, tall, right, at) {
    const [low, high] = row.range;
    const y = (v) => top + tall - (v - low) / (high - low) * tall;
    c.strokeStyle = colours.grid;
    c.lineWidth = 1;
    c.strokeRect(GUTTER + 0.5, Math.round(top) + 0.5, right - GUTTER, Math.round(tall));
    c.fillStyle = colours["ink-soft"];
    c.textAlign = "right";
    const digits = row.digits;
    c.fillText(high.toFixed(digits), GUTTER - 6, top + 9);
    c.fillText(low.toFixed(digits), GUTTER - 6, top + tall);
    const stride = Math.max(Math.floor(this.times.length / (2 * (right - GUTTER))), 1);
    if (row.bars) this.drawBars(c, row, x, y);
    else this.drawBand(c, row, x, y, stride);
    c.strokeStyle = row.colour;
    c.lineWidth = 1.75;
    c.beginPath();
    let open = false, last = -Infinity;
    for (let i = 0; i < this.times.length; i += stride) {
      const known = Number.isFinite(row.value[i]);
      open = open && known && this.times[i] - last < 0.3 * stride;
      if (known) c[open ? "lineTo" : "moveTo"](x(this.times[i]), y(row.value[i]));
      open = known;
      last = this.times[i];
    }
    c.stroke();
    this.drawValue(c, row, x, y, top, at);
  }

  drawValue(c, row, x, y, top, at) {
    const known = at >= 0 && Number.isFinite(row.value[at]);
    let text = row.name;
    if (known) {
      const half = (row.high[at] - row.low[at]) / 2;
      text += `  ${row.value[at].toFixed(row.digits)} ${row.unit}`;
      if (Number.isFinite(half)) text += ` \u00b1 ${(half * (row.spreadScale || 1)).toFixed(row.spreadDigits)} ${row.spreadUnit || row.unit}`;
      c.beginPath();
      c.arc(x(this.times[at]), y(row.value[at]), 3.5, 0, 2 * Math.PI);
      c.fillStyle = row.colour;
      c.fill();
    }
    c.font = "600 11px system-ui, sans-serif";
    c.textAlign = "left";
    c.fillStyle = row.colour;
    c.fillText(text, GUTTER, top - 5);
    c.font = "11px system-ui, sans-serif";
  }

  drawBand(c, row, x, y, stride) {
    c.fillStyle = row.colour;
    c.globalAlpha = 0.2;
    for (let i = 0; i + stride < this.times.length; i += stride) {
      const j = i + stride;
      if (!Number.isFinite(row.low[i] + row.low[j]) || this.times[j] - this.times[i] > 0.3 * stride)
        continue;
      c.beginPath();
      c.moveTo(x(this.times[i]), y(row.low[i]));
      c.lineTo(x(this.times[i]), y(row.high[i]));
      c.lineTo(x(this.times[j]) + 0.4, y(row.high[j]));
      c.lineTo(x(this.times[j]) + 0.4, y(row.low[j]));
      c.fill();
    }
    c.globalAlpha = 1;
  }

  drawBars(c, row, x, y) {
    const apart = Math.abs(x(this.times[this.times.length - 1]) - x(this.times[0]));
    const stride = Math.max(Math.ceil(5 * this.times.length / Math.max(apart, 1)), 1);
    c.strokeStyle = row.colour;
    c.globalAlpha = 0.4;
    c.lineWidth = 1.5;
    for (let i = 0; i < this.times.length; i += stride) {
      if (!Number.isFinite(row.low[i])) continue;
      c.beginPath();
      c.moveTo(x(this.times[i]), y(row.low[i]));
      c.lineTo(x(this.times[i]), y(row.high[i]));
      c.stroke();
    }
    c.globalAlpha = 1;
  }
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-3)));
  return [1, 2, 5, 10].map((k) => k * power).find((step) => step >= rough);
}

// x, y and z of a joint in the frame that is shown, metres, with one standard deviation.
function positionRows(person, scene, joint) {
  const rows = ["x", "y", "z"].map((name, k) => ({
    name, unit: "m", digits: 2, spreadDigits: 0, spreadUnit: "mm", spreadScale: 1000, least: 0.2,
    colour: [colours.ax, colours.ay, colours.az][k],
    value: new Float32Array(person.n), low: new Float32Array(person.n),
    high: new Float32Array(person.n),
  }));
  for (let i = 0; i < person.n; i++) {
    const place = person.inScene(i, joint), factor = person.factor(i, joint);
    const turned = factor && times(scene.rotation, factor);
    for (let k = 0; k < 3; k++) {
      // without a covariance the same along each axis
      const std = turned ? Math.hypot(turned[3 * k], turned[3 * k + 1], turned[3 * k + 2])
        : person.std_mm[i * person.j + joint] / Math.sqrt(3);
      rows[k].value[i] = place[k] / 1000;
      rows[k].low[i] = (place[k] - std) / 1000;
      rows[k].high[i] = (place[k] + std) / 1000;
    }
  }
  return rows;
}

function angleRows(person, chosen) {
  const rows = person.angles.filter((angle) => chosen.has(angle.name));
  return rows.map((angle, i) => ({
    name: angle.name, unit: angle.unit === "deg" ? "\u00b0" : angle.unit, digits: 0, least: 2,
    spreadDigits: 1, bars: true, colour: colours[`p${i % 6}`], value: angle.value, low: angle.low,
    high: angle.high,
  }));
}
