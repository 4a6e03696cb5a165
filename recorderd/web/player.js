// One camera's live picture: fMP4 fragments into Media Source Extensions, kept close to live.
// Knows one <video>; says in `onNote(text)` what a viewer must know when the picture is not live.

import { FLAG, MEDIA } from "/web/socket.js";

const BEHIND_S = 1.5; // further behind than this: jump
const KEEP_S = 20; // played media kept in the buffer
const FROZEN_MS = 3000;
const QUEUE_LIMIT = 600;

export class Player {
  constructor(video, onNote) {
    this.video = video;
    this.onNote = onNote;
    this.queue = [];
    this.source = null;
    this.buffer = null;
    this.mime = "";
    this.init = null;
    this.lastMs = 0;
    this.needKey = false;
    video.addEventListener("error", () => this.restart());
    video.muted = true;
    video.playsInline = true;
    document.addEventListener("visibilitychange", () => this.follow());
  }

  // A new initialisation follows, e.g. after a change of format: begin with an empty buffer.
  announce(mime) {
    this.mime = mime;
    this.queue = [];
    if (!("MediaSource" in window) || !MediaSource.isTypeSupported(mime)) {
      this.source = null;
      this.buffer = null;
      this.onNote(`this browser cannot show ${mime}`);
      return;
    }
    const source = new MediaSource();
    this.source = source;
    this.buffer = null;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(source);
    this.video.src = this.url;
    source.addEventListener("sourceopen", () => {
      if (source !== this.source) return;
      this.buffer = source.addSourceBuffer(mime);
      this.buffer.addEventListener("updateend", () => this.pump());
      this.pump();
    });
  }

  // After media the browser could not take: the same initialisation again, then the next key.
  restart() {
    if (!this.init || !this.source) return;
    const init = this.init;
    this.announce(this.mime);
    this.init = init;
    this.queue = [init];
    this.needKey = true;
  }

  push(fragment) {
    if (!this.source) return;
    if (fragment.kind === MEDIA.INIT) {
      this.init = fragment.data;
      this.needKey = false;
    } else {
      this.lastMs = performance.now();
      if (this.needKey && !(fragment.flags & FLAG.KEY)) return;
      this.needKey = false;
    }
    if (this.queue.length > QUEUE_LIMIT && fragment.flags & FLAG.KEY) {
      this.queue = []; // a hidden or stuck page: begin again at this key
    }
    this.queue.push(fragment.data);
    this.pump();
  }

  pump() {
    const buffer = this.buffer;
    if (!buffer || buffer.updating || this.source.readyState !== "open") return;
    try {
      const ranges = buffer.buffered;
      if (ranges.length && this.video.currentTime - ranges.start(0) > KEEP_S * 2) {
        buffer.remove(ranges.start(0), this.video.currentTime - KEEP_S);
        return;
      }
      const next = this.join();
      if (next) buffer.appendBuffer(next);
      else this.follow();
    } catch (error) {
      this.onNote(`picture failed: ${error.message}`);
      this.restart();
    }
  }

  // Everything that waits as one append: fewer wake-ups with many cameras.
  join() {
    if (this.queue.length < 2) return this.queue.shift();
    const all = new Uint8Array(this.queue.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of this.queue) {
      all.set(part, at);
      at += part.length;
    }
    this.queue = [];
    return all;
  }

  follow() {
    const ranges = this.video.buffered;
    if (!ranges.length) return;
    const end = ranges.end(ranges.length - 1);
    const start = ranges.start(ranges.length - 1);
    if (end - this.video.currentTime > BEHIND_S || this.video.currentTime < start) {
      this.video.currentTime = Math.max(start, end - 0.3);
    }
    if (this.video.paused && !document.hidden) this.video.play().catch(() => {});
  }

  // Called once a second: is what is shown still live?
  check() {
    if (!this.source) {
      if (!this.mime) this.onNote("no picture yet");
      return;
    }
    const quietMs = performance.now() - this.lastMs;
    if (!this.lastMs) this.onNote("waiting for the first picture");
    else if (quietMs > FROZEN_MS) this.onNote(`frozen for ${Math.round(quietMs / 1000)} s`);
    else this.onNote("");
  }
}
