// What the page says of a stream in words. All text comes from the pipeline and is never taken as HTML.

const byId = (id) => document.getElementById(id);

function say(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

const counts = (numbers) =>
  Object.entries(numbers).filter(([, number]) => number).map(([reason, number]) => `${number} ${reason}`).join(", ");

const short = (digest) => `${digest.slice(0, 16)} …`;

export function sayWindow(header, checks) {
  say("age", `${header.age_ms} ms`);
  say("rate", header.windows_per_s === null ? "–" : `${header.windows_per_s.toFixed(1)} windows/s`);
  say("lost", counts(header.lost) || "none");
  say("incidents", counts(header.incidents) || "no incidents");
  const [channels, height, width] = header.shape;
  say("picture-size", `${width} × ${height} pixels, ${channels} channels.`);
  say("anonymizer", short(header.anonymizer) + (header.trained ? "" : " UNTRAINED"));
  say("certificate", certificate(header.certificate, checks));
  say("book", book(header.book, checks));
  say("bits", header.bits_per_second === null
    ? "not stated: only a stand-in publishes a bound"
    : `at most ${header.bits_per_second}`);
  say("keys", checks.keys ? "with keys, encrypted" : "without keys");
  byId("warning").hidden = header.trained;
  say("warning", header.trained ? "" : "The anonymizer is UNTRAINED: what is published protects no one.");
}

function certificate(digest, checks) {
  if (digest === null) return "none: no audit shows how well these weights hide people";
  if (checks.certificate) return `${short(digest)} – verified: these weights passed the audit of your auditor`;
  return `${short(digest)} – not verified: start this page with --require-certificate`;
}

function book(digest, checks) {
  if (digest === null) return "none: these windows are not words of a book";
  if (checks.book) return `${short(digest)} – verified: every window is compared with your copy`;
  return `${short(digest)} – not verified: start this page with --book`;
}

export const labelOf = (header) => header.label ?? "not recognised";

export function sayGesture(header) {
  say("gesture", header ? labelOf(header) : "–");
  if (!header) return say("certainty", "");
  const parts = [];
  if (header.probability !== null) parts.push(`probability ${Math.round(100 * header.probability)} %`);
  if (header.presence !== null) parts.push(header.presence ? "shows a person" : "shows nobody");
  if (header.classifier_trained === false) parts.push("UNTRAINED classifier: this means nothing");
  say("certainty", parts.join(", "));
}

export function sayDropped(number) {
  say("dropped", number ? `${number} frames` : "none");
}

export function sayStatus(text, bad) {
  say("status", `${bad ? "▲" : "●"} ${text}`);
  byId("status").className = bad ? "bad" : "";
}

export function clearFacts() {
  for (const id of ["age", "rate", "lost", "incidents", "anonymizer", "certificate", "book", "bits", "keys"]) say(id, "–");
  say("picture-size", "");
  byId("warning").hidden = true;
  sayGesture(null);
}
