// Receives frames from the page's server, and connects again when the connection is lost. docs/view.md has the format.

const RETRY_MS = 1000;
const PROTOCOL = "eventveil";

export function decode(buffer) {
  const numbers = new DataView(buffer);
  const size = numbers.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  return { dropped: numbers.getUint32(0, true), header, payload: new Uint8Array(buffer, 8 + size) };
}

function base64url(text) {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export class Connection {
  // onFrame(frame), onOpen(), onLost(reason), onToken(wrong): the server asks for its token.
  constructor(handlers) {
    this.handlers = handlers;
    this.connect();
  }

  setToken(token) {
    sessionStorage.setItem("token", token);
    this.connect();
  }

  connect() {
    const token = sessionStorage.getItem("token");
    const protocols = token ? [PROTOCOL, `${PROTOCOL}.token.${base64url(token)}`] : [PROTOCOL];
    const address = new URL("frames", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, protocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.handlers.onOpen();
    socket.onmessage = (message) => this.handlers.onFrame(decode(message.data));
    socket.onclose = () => this.explain(token);
  }

  // A failed WebSocket gives no reason, so ask.
  async explain(token) {
    let reason = "lost";
    try {
      const answer = await fetch("check", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
      if (answer.status === 401) return this.handlers.onToken(Boolean(token));
      reason = answer.ok ? "full" : "refused";
    } catch {
      // the server is gone
    }
    this.handlers.onLost(reason);
    setTimeout(() => this.connect(), RETRY_MS);
  }
}
