// One camera's recorded pictures: fMP4 fragments into Media Source Extensions, shown at the moment the clock says.
// Knows one <video>. Movie time is wall time less the epoch, so a moment needs no table; times are milliseconds UTC.

import { FLAG, MEDIA } from "/web/socket.js";

const KEEP_MS = 30_000; // media kept around the moment shown
const FAR_MS = 250; // further off than this: seek instead of nudging the rate
const LOST_MS = 5000;
const NEAR_MS = 20;
const INSIDE_S = 0.002; // into the picture, not on its edge

export class RecordedPlayer {
  constructor(video, onNote) {
    this.video = video;
    this.onNote = onNote;
    this.queue = [];
    this.mime = "";
    this.epoch = 0;
    video.muted = true;
    video.playsInline = true;
    this.reset();
  }

  reset() {
    this.times = []; // of pictures that may be shown, rising
    this.holes = [];
    this.ended = null;
    this.queue = [];
  }

  receive(message) {
    if (message.type === "position") {
      this.reset();
      if (!message.time) this.ended = "nothing recorded";
    } else if (message.type === "media") this.announce(message);
    else if (message.type === "fragment") this.push(message);
    else if (message.type === "hole") this.hole(message);
    else if (message.type === "end") this.ended = message.end;
  }

  announce(message) {
    this.epoch = Date.parse(message.epoch);
    if (message.mime === this.mime && this.source?.readyState !== "closed" && !this.video.error) {
      this.queue.push("clear");
      return;
    }
    this.mime = message.mime;
    this.buffer = null;
    if (!("MediaSource" in window) || !MediaSource.isTypeSupported(this.mime)) {
      this.onNote(`this browser cannot show ${this.mime}`);
      return;
    }
    const source = new MediaSource();
    this.source = source;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(source);
    this.video.src = this.url;
    source.addEventListener("sourceopen", () => {
      if (source !== this.source || this.buffer) return;
      this.buffer = source.addSourceBuffer(this.mime);
      this.buffer.addEventListener("updateend", () => this.pump());
      this.pump();
    });
  }

  push(fragment) {
    this.queue.push(fragment.data);
    if (fragment.kind === MEDIA.VIDEO && !(fragment.flags & FLAG.PREROLL)) this.insert(fragment.time);
    this.pump();
  }

  insert(time) {
    const at = this.index(time);
    if (this.times[at] !== time) this.times.splice(at + 1, 0, time);
  }

  // Of the newest picture at or before `time`; -1 when there is none.
  index(time) {
    let low = 0;
    let high = this.times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  hole(message) {
    const causes = message.causes.map((one) => one.reason || one.state);
    const text = [...new Set(causes)].join(", ");
    this.holes.push({ start: Date.parse(message.start), end: Date.parse(message.end), text });
  }

  holeAt(time) {
    return this.holes.find((one) => one.start <= time && time < one.end);
  }

  pump() {
    const buffer = this.buffer;
    if (!buffer || buffer.updating || !this.queue.length || this.source.readyState === "closed") return;
    try {
      if (this.queue[0] === "clear") {
        this.queue.shift();
        if (buffer.buffered.length) buffer.remove(0, Infinity);
        else this.pump();
        return;
      }
      const upto = this.queue.indexOf("clear");
      const parts = this.queue.splice(0, upto < 0 ? this.queue.length : upto);
      const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        all.set(part, at);
        at += part.length;
      }
      buffer.appendBuffer(all);
    } catch (error) {
      this.onNote(`picture failed: ${error.message}`);
    }
  }

  // What there is at a moment: "picture", "hole", "ended", or "waiting" for media still on their way.
  at(time, speed) {
    const hole = this.holeAt(time);
    if (hole) return "hole";
    if (!this.times.length) return this.ended ? "ended" : "waiting";
    // Up to where it is known what there is: pictures and holes.
    const known = speed < 0
      ? Math.min(this.times[0], ...this.holes.map((one) => one.start))
      : Math.max(this.times.at(-1), ...this.holes.map((one) => one.end));
    if (speed < 0 ? time >= known - 1 : time <= known + 1) return "picture";
    return this.ended ? "ended" : "waiting";
  }

  // The first moment with a picture behind `time` in the direction of play; null when there is none yet.
  following(time, speed) {
    if (speed < 0) return this.times[this.index(time)] ?? null;
    return this.times.find((one) => one > time) ?? null;
  }

  show(time, speed) {
    const hole = this.holeAt(time);
    this.onNote(hole ? `nothing recorded: ${hole.text}` : this.ended && this.at(time, speed) === "ended" ? this.ended : "");
    const buffer = this.buffer;
    if (!buffer || buffer.updating || this.queue.length) return;
    // "ended" was only to flush the decoder: playing on from there would begin at 0.
    const open = this.source.readyState === "open";
    const smooth = open && speed > 0 && speed <= 4 && !hole && this.at(time, speed) === "picture";
    if (smooth) this.run(time, speed);
    else this.stand(time, speed);
    this.trim(time, speed);
  }

  run(time, speed) {
    const video = this.video;
    const off = video.currentTime * 1000 + this.epoch - time;
    if (Math.abs(off) > FAR_MS && !(video.seeking && Math.abs(off) < LOST_MS)) video.currentTime = (time - this.epoch) / 1000;
    const nudge = Math.abs(off) > NEAR_MS ? Math.max(-0.2, Math.min(0.2, -off / 500)) : 0;
    video.playbackRate = Math.max(0.0625, speed * (1 + nudge));
    if (video.paused) video.play().catch(() => {});
  }

  stand(time, speed) {
    const video = this.video;
    if (!video.paused) video.pause();
    const picture = this.times[this.index(time)] ?? this.times[0];
    if (picture === undefined || video.seeking) return;
    const goal = (picture - this.epoch) / 1000 + INSIDE_S;
    if (Math.abs(video.currentTime - goal) > INSIDE_S / 2) video.currentTime = goal;
    // Nothing follows while the clock stands: let the decoder give what it holds.
    if (!speed && this.source.readyState === "open" && this.buffer.buffered.length) this.source.endOfStream();
  }

  trim(time, speed) {
    const ranges = this.buffer.buffered;
    if (!ranges.length || this.queue.length || !speed || this.source.readyState !== "open") return;
    const at = (time - this.epoch) / 1000;
    const keep = KEEP_MS / 1000;
    if (speed > 0 && at - ranges.start(0) > 2 * keep) {
      this.buffer.remove(ranges.start(0), at - keep);
      this.times = this.times.slice(Math.max(0, this.index(time - KEEP_MS)));
    } else if (speed < 0 && ranges.end(ranges.length - 1) - at > 2 * keep) {
      this.buffer.remove(at + keep, Infinity);
      this.times = this.times.slice(0, this.index(time + KEEP_MS) + 1);
    }
  }
}
