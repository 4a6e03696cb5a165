// Recorded footage: the chosen cameras on one clock, with its tools and keys.
// The clock here follows the server's: it stands while a camera waits for media, and skips what no camera has.

import { RecordedPlayer } from "/web/recorded_player.js";

const SPEEDS = [-16, -8, -4, -2, -1, 0.25, 0.5, 1, 2, 4, 8, 16];
// Times are cut to milliseconds in texts: one more is surely inside the picture that begins there.
const moment = (text) => Date.parse(text) + 1;
const text = (time) => new Date(time).toISOString();
const SHOWN = {
  hour12: false, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3,
};
const byId = (id) => document.getElementById(`recorded-${id}`);

export class RecordedView {
  constructor(connection) {
    this.connection = connection; // a function: the connection may be another after a loss
    this.players = new Map(); // by feed
    this.chosen = new Set();
    this.names = new Map();
    this.clock = null;
    this.time = 0;
    this.speed = 1;
    this.playing = false;
    this.ticked = 0;
    this.going = Promise.resolve();
    for (const speed of SPEEDS) byId("speed").append(new Option(`${speed}×`, speed, speed === 1, speed === 1));
    byId("tools").addEventListener("submit", (event) => {
      event.preventDefault();
      const time = new Date(byId("time").value).getTime();
      if (Number.isNaN(time)) this.say("choose a time");
      else this.go(time);
    });
    byId("play").addEventListener("click", () => this.toggle());
    byId("back").addEventListener("click", () => this.step(-1));
    byId("step").addEventListener("click", () => this.step(1));
    byId("previous").addEventListener("click", () => this.seek("previous-sequence"));
    byId("next").addEventListener("click", () => this.seek("next-sequence"));
    byId("close").addEventListener("click", () => this.close());
    byId("keep").addEventListener("change", () => this.clock !== null && this.go(this.time));
    byId("speed").addEventListener("change", () => this.setSpeed(Number(byId("speed").value)));
    document.addEventListener("keydown", (event) => this.key(event));
    const loop = () => {
      this.tick();
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
  }

  // The cameras there are; those chosen stay chosen.
  offer(names) {
    const same = names.size === this.names.size && [...names].every(([id, name]) => this.names.get(id) === name);
    if (same) return;
    this.names = new Map(names);
    const boxes = [...this.names].sort((one, other) => one[1].localeCompare(other[1])).map(([id, name]) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.value = id;
      box.checked = this.chosen.has(id);
      box.addEventListener("change", () => this.choose(id, box.checked));
      label.append(box, ` ${name}`);
      return label;
    });
    byId("cameras").replaceChildren(byId("cameras").firstElementChild, ...boxes);
  }

  choose(id, on) {
    if (on) this.chosen.add(id);
    else this.chosen.delete(id);
    if (this.clock !== null) this.go(this.time);
  }

  open(id, time) {
    this.chosen.add(id);
    for (const box of byId("cameras").querySelectorAll("input")) box.checked = this.chosen.has(box.value);
    this.go(time);
  }

  // All chosen cameras to a moment, on a clock of their own. One after the other: each makes its own pictures.
  go(time) {
    this.going = this.going.then(() => this.begin(time));
    return this.going;
  }

  async begin(time) {
    if (!this.chosen.size) {
      this.say("choose a camera");
      return;
    }
    await this.stop();
    try {
      const gaps = byId("keep").checked ? "keep" : "skip";
      const reply = await this.connection().command("play", {
        cameras: [...this.chosen], time: text(time), speed: this.speed, paused: !this.playing, gaps,
      });
      this.clock = reply.clock;
      this.time = moment(reply.time);
      for (const place of reply.feeds) this.add(place);
      this.say("");
    } catch (error) {
      this.say(error.message);
    }
  }

  add(place) {
    const figure = document.createElement("figure");
    const picture = document.createElement("div");
    picture.className = "picture";
    const video = document.createElement("video");
    const note = document.createElement("div");
    note.className = "note";
    const caption = document.createElement("figcaption");
    caption.textContent = this.names.get(place.camera) ?? place.camera;
    video.setAttribute("aria-label", `recorded picture of ${caption.textContent}`);
    picture.append(video, note);
    figure.append(caption, picture);
    byId("pictures").append(figure);
    const player = new RecordedPlayer(video, (text) => {
      if (note.textContent !== text) note.textContent = text;
    });
    this.players.set(place.feed, player);
    this.connection().adopt(place.feed, (message) => player.receive(message));
  }

  async stop() {
    const feeds = [...this.players.keys()];
    this.lost();
    for (const feed of feeds) await this.connection().command("stop", { feed }).catch(() => {}); // it may have ended
  }

  // The connection went: what was on it is gone.
  lost() {
    this.players.clear();
    this.clock = null;
    byId("pictures").replaceChildren();
  }

  async close() {
    this.playing = false;
    this.label();
    await this.stop();
  }

  async command(cmd, params = {}) {
    if (this.clock === null) return;
    try {
      const reply = await this.connection().command(cmd, { clock: this.clock, ...params });
      if (reply.feeds) this.time = moment(reply.time);
      this.say("");
    } catch (error) {
      this.say(error.message);
    }
  }

  seek(mode) {
    return this.command("seek", { mode, time: text(this.time) });
  }

  async step(frames) {
    if (this.playing) await this.toggle();
    await this.command("step", { frames });
  }

  // The server's clock is a little ahead of what is seen: standing, it goes to where this one stands.
  async toggle() {
    if (this.clock === null) return;
    this.playing = !this.playing;
    this.label();
    await this.command(this.playing ? "resume" : "pause");
    if (!this.playing) await this.command("seek", { time: text(this.time) });
  }

  async setSpeed(speed) {
    this.speed = speed;
    await this.command("speed", { speed });
    await this.command("seek", { time: text(this.time) });
    if (!this.playing) await this.command("pause");
  }

  key(event) {
    if (event.target.closest?.("input, select, button, textarea") || event.ctrlKey || event.metaKey) return;
    const acts = {
      ",": () => this.step(-1), ".": () => this.step(1), " ": () => this.toggle(),
      "[": () => this.seek("previous-sequence"), "]": () => this.seek("next-sequence"),
    };
    if (this.clock === null || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  label() {
    byId("play").textContent = this.playing ? "pause" : "play";
  }

  say(words) {
    this.told = words;
    byId("now").textContent = words;
  }

  tick() {
    const now = performance.now();
    const passed = Math.min(200, now - this.ticked);
    this.ticked = now;
    if (this.clock === null || !this.players.size) return;
    const players = [...this.players.values()];
    const speed = this.playing ? this.speed : 0;
    if (speed) this.advance(players, this.time + passed * speed, speed);
    for (const player of players) player.show(this.time, speed);
    if (!this.told) byId("now").textContent = new Date(this.time).toLocaleString([], SHOWN);
  }

  advance(players, time, speed) {
    const states = players.map((player) => player.at(time, speed));
    if (states.includes("waiting")) return;
    if (states.includes("picture") || byId("keep").checked && states.includes("hole")) {
      this.time = time;
      return;
    }
    const next = players.map((player) => player.following(time, speed)).filter((one) => one !== null);
    if (next.length) this.time = speed < 0 ? Math.max(...next) : Math.min(...next);
  }
}
