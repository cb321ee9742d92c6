// The film, or an empty stage of its size, with poses and detections drawn over it.
class Picture {
  constructor(canvas, model, changed) {
    this.canvas = canvas;
    this.model = model;
    this.stills = [];
    this.video = null;
    const film = model.film || {};
    if (film.mp4) this.open(film.mp4, changed);
    if (film.jpeg) {
      this.stills = film.jpeg.map((text, i) => {
        const image = new Image();
        image.onload = changed;
        image.src = `data:image/jpeg;base64,${text}`;
        return { time: film.time_s[i], image };
      });
    }
    delete model.film;
  }

  open(text, changed) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const video = document.createElement("video");
    video.muted = video.playsInline = true;
    video.preload = "auto";
    video.onloadeddata = () => {
      this.video = video;
      changed();
    };
    video.onseeked = changed;
    video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  }

  image(time) {
    if (this.video) return this.video;
    let found = null;
    for (const still of this.stills) if (still.time <= time + 1e-3) found = still.image;
    return found && found.complete && found.naturalWidth ? found : null;
  }

  draw(rows, time, shown) {
    const { context: c, width, height } = fitted(this.canvas);
    const m = this.model, scale = Math.min(width / m.width, height / m.height);
    const left = (width - scale * m.width) / 2, top = (height - scale * m.height) / 2;
    const image = this.image(time);
    if (image) c.drawImage(image, left, top, scale * m.width, scale * m.height);
    else {
      c.fillStyle = colours.card;
      c.fillRect(left, top, scale * m.width, scale * m.height);
    }
    c.save();
    c.beginPath();
    c.rect(left, top, scale * m.width, scale * m.height);
    c.clip();
    const place = (x, y) => [left + scale * x, top + scale * y];
    m.people.forEach((person, index) => {
      if (person.visible && rows[index] >= 0)
        this.drawPerson(c, person, index, rows[index], shown, place, scale, Boolean(image));
    });
    c.restore();
  }

  drawPerson(c, person, index, row, shown, place, scale, onFilm) {
    const m = this.model, camera = person.camera_px.subarray(4 * row, 4 * row + 4);
    const points = m.joints.map((_, j) => person.inCamera(row, j, [0, 0, 0]));
    const at = points.map((p) => p[2] < 50 ? null
      : place(p[0] / p[2] * camera[0] + camera[2], p[1] / p[2] * camera[1] + camera[3]));
    if (shown.spread2d && shown.level && person.radius[shown.level])
      this.drawSpread(c, person, index, row, shown.level, points, at, camera, scale);
    if (shown.skeleton) {
      for (const [pass, wide] of [["halo", 5.5], ["bone", 3]]) {
        for (const [a, b] of m.edges) {
          if (!at[a] || !at[b]) continue;
          c.strokeStyle = pass === "halo" ? (onFilm ? "rgba(0,0,0,.45)" : colours.card)
            : colourOf(m, index, b);
          c.lineWidth = wide;
          c.beginPath();
          c.moveTo(...at[a]);
          c.lineTo(...at[b]);
          c.stroke();
        }
      }
    }
    if (!shown.keypoints) return;
    for (let j = 0; j < m.joints.length; j++) {
      const k = 2 * (row * person.j + j), x = person.keypoints_px[k];
      if (Number.isNaN(x) || !person.isSeen(row, j)) continue;
      c.beginPath();
      c.arc(...place(x, person.keypoints_px[k + 1]), 2.6, 0, 2 * Math.PI);
      c.fillStyle = "#ffffff";
      c.strokeStyle = "rgba(0,0,0,.75)";
      c.lineWidth = 1;
      c.fill();
      c.stroke();
    }
  }

  drawSpread(c, person, index, row, level, points, at, camera, scale) {
    points.forEach((p, j) => {
      const f = person.factor(row, j);
      if (!f || !at[j]) return;
      const du = camera[0] / p[2] * scale, dv = camera[1] / p[2] * scale;
      const line = (d, k) => [0, 1, 2].map((i) => d * (f[3 * k + i] - p[k] / p[2] * f[6 + i]));
      const ellipse = ellipseOf([...line(du, 0), ...line(dv, 1)], person.radius[level]);
      c.save();
      c.translate(...at[j]);
      c.rotate(ellipse.angle);
      c.beginPath();
      c.ellipse(0, 0, ellipse.long, ellipse.short, 0, 0, 2 * Math.PI);
      c.fillStyle = c.strokeStyle = colourOf(this.model, index, j);
      c.globalAlpha = 0.18;
      c.fill();
      c.globalAlpha = 0.7;
      c.stroke();
      c.restore();
    });
  }
}
