// Mouse, touch and keys.
function steerScene(scene, changed) {
  const canvas = scene.canvas, fingers = new Map();
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const dx = now[0] - before[0], dy = now[1] - before[1];
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const far = (p) => Math.max(Math.hypot(p[0] - other[0], p[1] - other[1]), 20);
      scene.zoom(far(before) / far(now));
      scene.pan(dx / 2, dy / 2);
    } else if (event.shiftKey || event.buttons & 6) scene.pan(dx, dy);
    else scene.turn(0.007 * dx, 0.007 * dy);
    fingers.set(event.pointerId, now);
    changed();
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    scene.zoom(Math.exp(0.0012 * Math.min(Math.max(event.deltaY, -240), 240)));
    changed();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = way[event.key];
    if (step && event.shiftKey) scene.pan(-40 * step[0], 40 * step[1]);
    else if (step) scene.turn(-0.09 * step[0], 0.09 * step[1]);
    else if (event.key === "+" || event.key === "=") scene.zoom(0.88);
    else if (event.key === "-") scene.zoom(1 / 0.88);
    else return;
    event.preventDefault();
    event.stopPropagation();
    changed();
  });
}

function steerTime(player) {
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || target.tagName === "SELECT") return;
    const onButton = target.tagName === "BUTTON" || target.tagName === "SUMMARY";
    if (event.key === " ") {
      if (onButton) return;
      player.toggle();
    } else if (event.key === "ArrowRight") player.step(event.shiftKey ? 10 : 1);
    else if (event.key === "ArrowLeft") player.step(event.shiftKey ? -10 : -1);
    else if (event.key === "Home") player.to(0);
    else if (event.key === "End") player.to(player.times.length - 1);
    else return;
    event.preventDefault();
  });
}

// Buttons of a group of which one is pressed.
function chooseOne(group, attribute, chosen) {
  const buttons = [...group.querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      chosen(button.dataset[attribute]);
    });
  }
}

function pressable(button, pressed) {
  button.addEventListener("click", () => {
    const now = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(now));
    pressed(now);
  });
}

function made(tag, text, classes) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (classes) element.className = classes;
  return element;
}
