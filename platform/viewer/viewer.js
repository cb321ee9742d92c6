// Time, and what follows it.
class Player {
  constructor(model, picture, changed) {
    const all = new Set(model.people.flatMap((person) => person.time_s.map((t) => t.toFixed(4))));
    this.times = [...all].map(Number).sort((a, b) => a - b);
    this.rows = model.people.map((person) => {
      const at = new Map(person.time_s.map((t, row) => [t.toFixed(4), row]));
      return this.times.map((t) => at.get(t.toFixed(4)) ?? -1);
    });
    Object.assign(this, { picture, changed, playing: false, speed: 1, k: 0, time: this.times[0] });
    this.to(0);
  }

  get video() {
    return this.picture.video;
  }

  to(k) {
    this.k = Math.min(Math.max(k, 0), this.times.length - 1);
    this.time = this.times[this.k];
    // a little into the frame, so that its own picture is shown
    if (this.video) this.video.currentTime = this.time + 0.004;
    this.changed();
  }

  // The last frame that began by a time.
  at(time) {
    let low = 0, high = this.times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle] <= time + 2e-3) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  step(by) {
    this.pause();
    this.to(this.k + by);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.k === this.times.length - 1) this.to(0);
    this.playing = true;
    this.last = performance.now();
    if (this.video) {
      this.video.playbackRate = this.speed;
      this.video.play().catch(() => this.pause());
    }
    this.changed();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    this.playing = false;
    if (this.video) this.video.pause();
    this.changed();
  }

  tick(now) {
    if (!this.playing) return;
    const video = this.video;
    if (video && !video.ended) this.time = video.currentTime;
    else this.time += this.speed * Math.max(now - this.last, 0) / 1000;
    this.last = now;
    this.k = this.at(this.time);
    if (this.time >= this.times[this.times.length - 1]) {
      this.k = this.times.length - 1;
      this.time = this.times[this.k];
      this.pause();
    }
    this.changed();
    requestAnimationFrame((next) => this.tick(next));
  }
}

const $ = (id) => document.getElementById(id);
const model = JSON.parse($("data").textContent);
model.people = model.people.map((one) => new Person(one, model.scene, model.joints.length));
const shown = { skeleton: true, keypoints: true, spread2d: false, ghosts: true, trails: false,
  follow: false, level: "50" };
const chosenAngles = new Set();
let waiting = false, drawnPeople = 0;

function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

readColours();
const picture = new Picture($("picture"), model, changed);
const scene = new Scene($("scene"), model);
const player = new Player(model, picture, changed);
const span = [player.times[0], Math.max(player.times[player.times.length - 1], player.times[0] + 0.1)];
const seekTo = (time) => {
  player.pause();
  player.to(player.at(time));
};
const jointChart = new Chart($("joint-plot"), seekTo);
const angleChart = new Chart($("angle-plot"), seekTo);

function currentRows() {
  return player.rows.map((rows) => rows[player.k]);
}

function draw() {
  const rows = currentRows();
  picture.draw(rows, player.time, shown);
  drawnPeople = scene.draw(rows, shown);
  const plotted = Number($("plotted").value);
  const time = Math.min(player.time, span[1]);
  jointChart.draw(time, rows[plotted]);
  angleChart.draw(time, rows[plotted]);
  $("seek").value = player.k;
  const row = rows.findIndex((r) => r >= 0);
  const frame = row >= 0 ? model.people[row].frame[rows[row]] : null;
  const text = `${player.times[player.k].toFixed(2)} s${frame === null ? "" : ` \u00b7 frame ${frame}`}`;
  $("clock").textContent = text;
  $("seek").setAttribute("aria-valuetext", text);
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  $("play-icon").setAttribute("d", player.playing ? "M7 5h4v14H7zM14 5h4v14h-4z" : "M8 5v14l11-7z");
}

function plot() {
  const person = model.people[Number($("plotted").value)];
  jointChart.set(person.time_s, positionRows(person, model.scene, Number($("joint").value)), span);
  angleChart.set(person.time_s, angleRows(person, chosenAngles), span);
  changed();
}

function header() {
  const people = model.people, calibrated = people.every((p) => p.calibrated);
  $("title").textContent = model.title;
  $("subtitle").textContent = `${model.scene.name} frame: ${model.scene.axes}`;
  $("scene-head").textContent = model.scene.floor ? "3D, metres" : "3D";
  const chip = (text, kind) => $("chips").append(made("li", text, kind));
  chip(calibrated ? "calibrated" : "not calibrated", calibrated ? "good" : "warn");
  chip("mm");
  chip(`${player.times.length} frames at ${+model.fps.toFixed(2)}/s`);
  if (model.model) chip(model.model.split("/").pop());
  const many = people.length > 1;
  for (const person of people) {
    const texts = [...person.warnings.map((text) => [text, "warn"]), ...(person.note ? [[person.note, ""]] : [])];
    for (const [text, kind] of texts) {
      const line = made("p", "", kind);
      if (many) line.append(made("b", `${person.name}: `));
      line.append(text);
      $("notes").append(line);
    }
  }
  const figured = people.filter((person) => Object.keys(person.figures).length);
  if (!figured.length) return;
  const details = made("details");
  details.append(made("summary", "Figures that tell how far to trust this"));
  for (const person of figured) {
    const list = made("dl");
    if (many) list.append(made("b", person.name));
    for (const [key, value] of Object.entries(person.figures)) {
      const line = made("div");
      line.append(made("dt", key), made("dd", value));
      list.append(line);
    }
    details.append(list);
  }
  $("notes").append(details);
}

function peopleSwitches() {
  const many = model.people.length > 1;
  model.people.forEach((person, index) => {
    const button = made("button", "", "person");
    const mark = made("i");
    mark.style.color = `var(--${many ? `p${index % 6}` : "trunk"})`;
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(mark, made("span", person.name), made("small", `${person.n} frames`));
    pressable(button, (now) => {
      person.visible = now;
      changed();
    });
    $("people").append(button);
    $("plotted").append(new Option(person.name, String(index)));
  });
  $("plotted-field").hidden = !many;
  const legend = made("ul", "", "legend");
  const entries = many ? [] : [["right", "right limbs"], ["left", "left limbs"], ["trunk", "trunk"]];
  for (const [name, text] of entries) {
    const item = made("li"), mark = made("i");
    mark.style.color = `var(--${name})`;
    item.append(mark, text);
    legend.append(item);
  }
  if (many) legend.append(made("li", "darker: right limbs"));
  $("people").append(legend);
}

function tools() {
  for (const button of document.querySelectorAll("[data-toggle]")) {
    pressable(button, (now) => {
      shown[button.dataset.toggle] = now;
      changed();
    });
  }
  chooseOne($("levels"), "level", (level) => {
    shown.level = level;
    changed();
  });
  for (const button of $("viewpoints").querySelectorAll("button")) {
    button.addEventListener("click", () => {
      scene.look(button.dataset.view);
      changed();
    });
  }
  const people = model.people;
  $("levels").hidden = !people.some((p) => p.factor_mm && Object.keys(p.radius).length);
  document.querySelector("[data-toggle=ghosts]").hidden = !people.some((p) => p.nGhosts);
  document.querySelector("[data-toggle=spread2d]").hidden = $("levels").hidden;
  $("picture-head").textContent = picture.stills.length || model.hasFilm ? "Film" : "Picture";
  $("picture").style.setProperty("--aspect", model.width / model.height);
  $("seek").max = player.times.length - 1;
  $("seek").addEventListener("input", () => {
    player.pause();
    player.to(Number($("seek").value));
  });
  $("play").addEventListener("click", () => player.toggle());
  $("speed").addEventListener("change", () => {
    player.speed = Number($("speed").value);
    if (player.video) player.video.playbackRate = player.speed;
  });
  model.joints.forEach((name, j) => $("joint").append(new Option(name, String(j))));
  $("joint").value = String(model.joints.indexOf("RWrist"));
  $("joint").addEventListener("change", plot);
  $("plotted").addEventListener("change", plot);
}

function angleSwitches() {
  const names = [...new Set(people().flatMap((p) => p.angles.map((angle) => angle.name)))];
  $("angles-card").hidden = !names.length;
  names.forEach((name, i) => {
    const button = made("button", name, "toggle");
    button.type = "button";
    button.setAttribute("aria-pressed", String(i < 3));
    if (i < 3) chosenAngles.add(name);
    pressable(button, (now) => {
      chosenAngles[now ? "add" : "delete"](name);
      plot();
    });
    $("angle-choice").append(button);
  });
}

function people() {
  return model.people;
}

header();
peopleSwitches();
tools();
angleSwitches();
steerScene(scene, changed);
steerTime(player);
plot();
new ResizeObserver(changed).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  plot();
});
// What can be asked from outside; nothing here reads it.
window.viewer = {
  get time() { return player.time; },
  get frame() { return player.k; },
  get frames() { return player.times.length; },
  get playing() { return player.playing; },
  get matrix() { return scene.matrix; },
  get view() { return { ...scene.view }; },
  get shown() { return { ...shown }; },
  get drawnPeople() { return drawnPeople; },
  get hasFilm() { return Boolean(picture.video) || picture.stills.length > 0; },
  get people() { return model.people.map((p) => ({ name: p.name, visible: p.visible })); },
  position(person, row, joint) { return model.people[person].inScene(row, joint); },
  draw,
};
