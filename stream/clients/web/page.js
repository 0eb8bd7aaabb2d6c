// The page: keeps what arrived of each stream, and shows the one that is chosen.

import { Connection } from "./connection.js";
import { clearFacts, labelOf, sayDropped, sayGesture, sayStatus, sayWindow } from "./facts.js";
import { Picture } from "./picture.js";
import { addGesture, drawTimeline } from "./timeline.js";

const SILENT_MS = 3000; // at least, before a silent pipeline counts as lost
const SLOW = 4; // times the usual interval between two windows

const byId = (id) => document.getElementById(id);
const picture = new Picture(byId("picture"));
const streams = new Map(); // by name: {run, window, gesture, bars, state, arrived, intervals}
let chosen = null;
let checks = { keys: false, book: false, certificate: false };
let pipeline = { state: "waiting", reason: "" };
let end = null; // how the pipeline has ended, if it has
let connected = "connecting";
let dropped = 0;

function streamOf(header) {
  let stream = streams.get(header.stream);
  if (!stream || stream.run !== header.run) {
    stream = { run: header.run, window: null, gesture: null, bars: [], state: null, arrived: null, intervals: [] };
    streams.set(header.stream, stream);
    end = null;
    for (const [name, other] of streams) if (other.run !== header.run) streams.delete(name); // of an earlier pipeline
    if (!streams.has(chosen)) choose([...streams.keys()].sort()[0]);
    listStreams();
    if (header.stream === chosen) choose(chosen);
  }
  return stream;
}

function onWindow(header, payload, now) {
  const stream = streamOf(header);
  if (stream.arrived !== null) stream.intervals = [...stream.intervals, now - stream.arrived].slice(-10);
  stream.arrived = now;
  stream.window = header;
  stream.state = null;
  if (header.stream !== chosen) return;
  sayWindow(header, checks);
  const lately = stream.intervals.length ? Math.min(...stream.intervals) : (header.t_end_us - header.t_start_us) / 1000;
  picture.show(header, payload, lately, now);
}

function onGesture(header, now) {
  const stream = streamOf(header);
  stream.gesture = header;
  addGesture(stream.bars, labelOf(header), now - (header.t_end_us - header.t_start_us) / 1000, now);
  if (header.stream === chosen) sayGesture(header);
}

function onFrame({ dropped: missed, header, payload }) {
  const now = performance.now();
  dropped = missed;
  if (header.kind === "window") onWindow(header, payload, now);
  else if (header.kind === "gesture") onGesture(header, now);
  else if (header.kind === "page") checks = header.checks;
  else if (header.kind === "line") pipeline = header;
  else if (header.kind === "state" && header.stream === "") end = header;
  else if (header.kind === "state" && streams.has(header.stream)) streams.get(header.stream).state = header;
  tell(now);
}

function usual(intervals) {
  return intervals.length ? intervals.toSorted((a, b) => a - b)[Math.floor(intervals.length / 2)] : 0;
}

// The state of the pipeline in one sentence, and whether it is bad news.
function statusOf(now) {
  if (connected === "connecting") return ["Connecting …", false];
  if (connected === "full") return ["Too many browsers are watching already. Trying again …", true];
  if (connected !== "open") return ["The connection to this page's server is lost. Trying again …", true];
  if (pipeline.state === "refused") return [pipeline.reason, true];
  if (end) return [`The pipeline has ${end.state}. ${end.reason} Waiting for the next one …`, end.state === "failed"];
  if (pipeline.state === "lost") return [`The pipeline is lost: ${pipeline.reason}. Trying again …`, true];
  const stream = streams.get(chosen);
  if (!stream || stream.arrived === null) return ["Waiting for a pipeline …", false];
  if (stream.state) return [`This stream: ${stream.state.state.replace("_", " ")}. ${stream.state.reason}`, true];
  const silent = now - stream.arrived;
  if (silent > Math.max(SILENT_MS, SLOW * usual(stream.intervals))) {
    return [`The pipeline is lost: nothing has arrived for ${Math.floor(silent / 1000)} s. Waiting …`, true];
  }
  if (stream.window.replay) return [`Not live: ${stream.window.replay}`, true];
  return ["Live", false];
}

function tell(now) {
  sayStatus(...statusOf(now));
  sayDropped(dropped);
  drawTimeline(byId("timeline"), streams.get(chosen)?.bars ?? [], now);
}

function choose(name) {
  chosen = name;
  picture.clear();
  clearFacts();
  const stream = streams.get(name);
  if (stream?.window) sayWindow(stream.window, checks);
  sayGesture(stream?.gesture ?? null);
}

function listStreams() {
  const box = byId("streams");
  const names = [...streams.keys()].sort();
  box.hidden = names.length < 2;
  box.querySelectorAll("label").forEach((label) => label.remove());
  for (const name of names) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "stream", value: name });
    input.checked = name === chosen;
    input.addEventListener("change", () => choose(name));
    label.append(input, ` ${name}`);
    box.append(label);
  }
}

function askForToken(wrong) {
  connected = "connecting";
  byId("token-form").hidden = false;
  byId("token-wrong").hidden = !wrong;
  byId("token").focus();
}

const connection = new Connection({
  onFrame,
  onOpen: () => {
    connected = "open";
    byId("token-form").hidden = true;
  },
  onLost: (reason) => {
    connected = reason;
    tell(performance.now());
  },
  onToken: askForToken,
});

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connection.setToken(byId("token").value.trim());
});

function draw(now) {
  picture.draw(now);
  requestAnimationFrame(draw);
}

setInterval(() => tell(performance.now()), 250);
requestAnimationFrame(draw);
