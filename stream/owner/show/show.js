// Asks for the pictures of one step after the other. The token is in the address, after a #, which no browser sends.
import { decode } from "./connection.js";

const byId = (id) => document.getElementById(id);
const token = location.hash.slice(1);
const headers = { Authorization: `Bearer ${token}` };

let state = null; // of the server: {first, end, names, live, over, failed, step_ms}
let column = 1; // of the anonymizer
let place = 0; // number of the step to show
let playing = true;
let shown = ""; // what is drawn
let began = performance.now(); // when `place` was reached

function say(text, bad) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

function statusOf() {
  if (state.over) return [state.over, state.failed];
  return [state.live && state.first < state.end ? "Live" : "Reading …", false];
}

function draw(canvas, [height, width], bytes) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  bytes.forEach((grey, pixel) => {
    image.data.fill(grey, 4 * pixel, 4 * pixel + 3);
    image.data[4 * pixel + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function drawStep({ header, payload }) {
  let at = 0;
  header.columns.forEach((one, number) => {
    const name = number ? "published" : "raw";
    for (const [kind, id] of [["events", name], ["picture", `${name}-picture`]]) {
      const shape = one[kind];
      if (kind === "picture") byId(`${id}-box`).hidden = !shape;
      if (!shape) continue;
      draw(byId(id), shape, payload.subarray(at, at + shape[0] * shape[1]));
      at += shape[0] * shape[1];
    }
  });
  byId("label").textContent = header.columns[1].label;
}

function listAnonymizers() {
  const box = byId("anonymizers");
  if (box.querySelector("input")) return;
  state.names.forEach((name, number) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "anonymizer", value: number + 1 });
    input.checked = number === 0;
    input.addEventListener("change", () => (column = number + 1));
    label.append(input, ` ${name}`);
    box.append(label);
  });
  byId("follow").checked = state.live;
}

// Move on in time, and to the newest step if that is followed.
function advance(now) {
  if (byId("follow").checked && playing) place = state.end - 1;
  else if (playing && now - began >= state.step_ms && place + 1 < state.end) place += 1;
  else if (place >= state.first) return;
  place = Math.max(place, state.first);
  began = now;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { headers, ...options });
  if (answer.status === 401) throw new Error("This address lacks the token: use the address that `eventveil show` printed.");
  return answer;
}

async function step() {
  state = await (await ask("state")).json();
  listAnonymizers();
  say(...statusOf());
  if (state.first === state.end) return;
  advance(performance.now());
  Object.assign(byId("place"), { min: state.first, max: state.end - 1, value: place });
  byId("time").value = `${((place * state.step_ms) / 1000).toFixed(1)} s`;
  const wanted = `pictures/${place}/${column}`;
  if (wanted === shown) return;
  const answer = await ask(wanted);
  if (!answer.ok) return; // no longer kept
  drawStep(decode(await answer.arrayBuffer()));
  shown = wanted;
}

async function run() {
  for (;;) {
    try {
      await step();
    } catch (error) {
      say(error instanceof TypeError ? "`eventveil show` has ended." : error.message, true);
    }
    await new Promise((resume) => setTimeout(resume, 40));
  }
}

function play(on) {
  playing = on;
  byId("play").textContent = on ? "Pause" : "Play";
}

async function save(kind) {
  byId("saved").textContent = "Saving …";
  try {
    const answer = await ask(`save/${kind}/${place}/${column}`, { method: "POST" });
    byId("saved").textContent = answer.ok ? `Saved ${(await answer.json()).file}` : await answer.text();
  } catch (error) {
    byId("saved").textContent = error.message;
  }
}

byId("play").addEventListener("click", () => play(!playing));
byId("place").addEventListener("input", () => {
  play(false);
  byId("follow").checked = false;
  place = Number(byId("place").value);
});
byId("png").addEventListener("click", () => save("png"));
byId("gif").addEventListener("click", () => save("gif"));
run();
