// The gestures of the last minute: a row for each label, with a bar where it was recognised.

export const SPAN_MS = 60_000;

// Add a recognised gesture to the bars of a stream, which are {label, from, until} in the order of time.
export function addGesture(bars, label, from, until) {
  const last = bars.at(-1);
  if (last) from = Math.max(from, last.until);
  if (last && last.label === label && from - last.until < 50) last.until = until;
  else bars.push({ label, from, until });
  while (bars.length && bars[0].until < until - SPAN_MS) bars.shift();
}

export function drawTimeline(box, bars, now) {
  const labels = [...new Set(bars.filter((bar) => bar.until > now - SPAN_MS).map((bar) => bar.label))].sort();
  const rows = new Map([...box.children].map((row) => [row.dataset.label, row]));
  for (const [label, row] of rows) if (!labels.includes(label)) row.remove();
  for (const label of labels) {
    const row = rows.get(label) ?? newRow(label);
    box.append(row); // in the order of their names
    drawRow(row.querySelector("canvas"), bars.filter((bar) => bar.label === label), now);
  }
}

function newRow(label) {
  const row = document.createElement("div");
  row.className = "row";
  row.dataset.label = label;
  const name = document.createElement("span");
  name.textContent = label;
  row.append(name, document.createElement("canvas"));
  return row;
}

function drawRow(canvas, bars, now) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--bar");
  const place = (time) => ((time - now + SPAN_MS) / SPAN_MS) * width;
  for (const bar of bars) {
    const left = Math.max(0, place(bar.from));
    context.fillRect(left, 0.2 * height, Math.max(scale, place(bar.until) - left), 0.6 * height);
  }
}
