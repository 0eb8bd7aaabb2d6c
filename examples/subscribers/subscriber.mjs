// Receives what eventveil publishes, with zeromq.js (npm install zeromq): node subscriber.mjs tcp://127.0.0.1:5556
import { Subscriber } from "zeromq";

const VERSION = 3;

const socket = new Subscriber();
socket.connect(process.argv[2] ?? "tcp://127.0.0.1:5556");
socket.subscribe("window", "gesture", "state"); // state last: it announces the end

for await (const [topic, text, payload] of socket) {
  const header = JSON.parse(text);
  if (header.version !== VERSION) throw new Error(`expected version ${VERSION} of the wire format`);
  const name = `${topic} ${header.stream} ${header.seq}`;
  if (String(topic) === "window") {
    // A copy, because a Float32Array must begin at a multiple of four bytes: (C, H, W), channel 2k + p.
    const window = new Float32Array(payload.buffer.slice(payload.byteOffset, payload.byteOffset + payload.byteLength));
    console.log(`${name} [${header.shape}] sum ${window.reduce((sum, value) => sum + value, 0)}`);
  } else if (String(topic) === "gesture") {
    console.log(`${name} ${header.label ?? "None"}`);
  } else {
    console.log(`state ${header.state}`);
    if (header.stream === null && ["ended", "failed"].includes(header.state)) break;
  }
}
