// The page's one WebSocket: commands with replies, pushes by feed, media messages, and coming back after a loss.
// Knows the protocol of docs/api/websocket.md and no element.

const HEAD_BYTES = 20;
export const MEDIA = { INIT: 1, VIDEO: 2, AUDIO: 3 };
export const FLAG = { KEY: 1, DISCONTINUITY: 2, SKIPPED: 4, PREROLL: 8 };

export class Connection {
  // onOpen() runs after each connect: start the feeds anew there. onLost() runs once per loss.
  constructor(url, { onOpen, onLost }) {
    this.url = url;
    this.onOpen = onOpen;
    this.onLost = onLost;
    this.delayMs = 500;
    this.open();
  }

  open() {
    this.waiting = new Map();
    this.feeds = new Map();
    this.early = new Map();
    this.nextId = 1;
    this.socket = new WebSocket(this.url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.delayMs = 500;
      this.onOpen();
    };
    this.socket.onmessage = (message) => this.receive(message.data);
    this.socket.onclose = () => {
      for (const { reject } of this.waiting.values()) reject(new Error("connection lost"));
      this.onLost();
      setTimeout(() => this.open(), this.delayMs);
      this.delayMs = Math.min(10_000, this.delayMs * 2);
    };
  }

  command(cmd, params = {}) {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.socket.send(JSON.stringify({ id, cmd, ...params }));
    });
  }

  // Start a feed; handler(message) gets its pushes, {type: "fragment", kind, flags, time, data} for media.
  async feed(cmd, params, handler) {
    const reply = await this.command(cmd, params);
    this.adopt(reply.feed, handler);
    return reply.feed;
  }

  // From now on handler(message) gets the pushes of a feed, first those that came before their reply.
  adopt(feed, handler) {
    this.feeds.set(feed, handler);
    for (const message of this.early.get(feed) ?? []) handler(message);
    this.early.delete(feed);
  }

  receive(data) {
    if (typeof data !== "string") return this.dispatch(this.media(data));
    const message = JSON.parse(data);
    if (message.type !== "reply") return this.dispatch(message);
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (!waiting) return undefined;
    if (message.ok) return waiting.resolve(message);
    return waiting.reject(Object.assign(new Error(message.error.message), { code: message.error.code }));
  }

  media(buffer) {
    const head = new DataView(buffer, 0, HEAD_BYTES);
    return {
      type: "fragment",
      kind: head.getUint8(1),
      flags: head.getUint16(2),
      feed: head.getUint32(4),
      sequence: head.getUint32(8),
      time: Number(head.getBigUint64(12)) / 1000,
      data: new Uint8Array(buffer, HEAD_BYTES),
    };
  }

  // A push may overtake the reply that names its feed: keep it until the handler is known.
  dispatch(message) {
    const handler = this.feeds.get(message.feed);
    if (handler) {
      handler(message);
      if (message.type === "ended") this.feeds.delete(message.feed);
      return;
    }
    const kept = this.early.get(message.feed) ?? [];
    if (kept.length < 2000) kept.push(message);
    this.early.set(message.feed, kept);
  }
}
