// The page: one WebSocket, a card per camera, the list of events.
// Puts the other modules together; texts come from words.js, data is only ever set as text.

import { CoverageBar } from "/web/coverage.js";
import { Player } from "/web/player.js";
import { RecordedView } from "/web/recorded.js";
import { Connection } from "/web/socket.js";
import { clockText, eventText, paramsText, SHOWN_IN_LEGEND, STATES, stateText } from "/web/words.js";

const WINDOW_S = 300;
const EVENTS_SHOWN = 200;
const RETRY_MS = 3000;

const cards = new Map();
const names = new Map();
let connection;

class Card {
  constructor(camera) {
    this.id = camera.id;
    this.root = element("article", "camera");
    const title = element("div", "title");
    this.name = element("span", "name");
    this.state = element("span", "state");
    title.append(this.name, this.state);
    const picture = element("div", "picture");
    this.video = document.createElement("video");
    this.note = element("div", "note");
    picture.append(this.video, this.note);
    const bar = element("div", "bar");
    bar.setAttribute("role", "img");
    const scale = element("div", "scale");
    const causes = element("ul", "causes");
    this.root.append(title, picture, bar, scale, causes);
    this.coverage = new CoverageBar(bar, causes, scale);
    bar.title = "click: show what was recorded then";
    bar.addEventListener("click", (event) => {
      const time = this.coverage.timeAt(event);
      if (time !== null) recorded.open(this.id, time);
    });
    this.player = new Player(this.video, (text) => {
      if (this.note.textContent !== text) this.note.textContent = text;
    });
  }

  show(camera) {
    this.name.textContent = camera.name;
    this.video.setAttribute("aria-label", `live picture of ${camera.name}`);
    const alarm = camera.recording.not_recording;
    const state = stateText(camera.state, camera.reason);
    this.state.textContent = alarm ? `NOT RECORDING: ${state}` : state;
    this.state.className = `state text-${alarm ? "alarm" : camera.state}`;
  }

  async watch(owner) {
    try {
      await owner.feed("live", { camera: this.id }, (message) => this.live(owner, message));
    } catch (error) {
      this.note.textContent = error.message;
      this.again(owner);
    }
  }

  live(owner, message) {
    if (message.type === "media") this.player.announce(message.mime);
    else if (message.type === "fragment") this.player.push(message);
    else if (message.type === "ended") this.again(owner);
  }

  again(owner) {
    setTimeout(() => {
      if (cards.get(this.id) === this && owner.socket.readyState === WebSocket.OPEN) this.watch(owner);
    }, RETRY_MS);
  }
}

function element(kind, className) {
  const made = document.createElement(kind);
  made.className = className;
  return made;
}

function showState(message) {
  for (const camera of message.cameras) {
    names.set(camera.id, camera.name);
    let card = cards.get(camera.id);
    if (!card) {
      card = new Card(camera);
      cards.set(camera.id, card);
      insertByName(card, camera.name);
      card.watch(connection);
    }
    card.show(camera);
  }
  for (const id of message.removed) {
    cards.get(id)?.root.remove();
    cards.delete(id);
    names.delete(id);
  }
  recorded.offer(names);
}

function insertByName(card, name) {
  const list = document.getElementById("cameras");
  const after = [...cards.values()].find((other) => other !== card && names.get(other.id) > name && other.root.isConnected);
  list.insertBefore(card.root, after ? after.root : null);
}

function showCoverage(message) {
  const start = Date.parse(message.start);
  const end = Date.parse(message.end);
  for (const camera of message.cameras) {
    cards.get(camera.id)?.coverage.update(start, end, Date.parse(camera.from), camera.intervals);
  }
}

let lastEvent = 0;

function showEvent(message) {
  const event = message.event;
  lastEvent = event.id;
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = event.time;
  time.textContent = clockText(Date.parse(event.time));
  const what = document.createElement("strong");
  what.textContent = eventText(event.code);
  const where = names.get(event.camera);
  const details = element("span", "details");
  details.textContent = ` ${[where, paramsText(event.params)].filter(Boolean).join(" · ")}`;
  item.append(time, what, details);
  const list = document.getElementById("events");
  list.prepend(item);
  while (list.children.length > EVENTS_SHOWN) list.lastChild.remove();
}

async function begin() {
  const status = document.getElementById("connection");
  try {
    const hello = await connection.command("hello");
    document.getElementById("server-name").textContent = hello.server.name;
    document.title = hello.server.name;
    status.textContent = `connected · recorderd ${hello.server.version}`;
    status.className = "";
    for (const card of cards.values()) card.root.remove();
    cards.clear();
    recorded.lost();
    await connection.feed("state", {}, showState);
    await connection.feed("coverage", { window_s: WINDOW_S, every_s: 2 }, (message) => {
      if (message.type === "coverage") showCoverage(message);
    });
    await connection.feed("events", lastEvent ? { after: lastEvent } : { newest: 50 }, (message) => {
      if (message.type === "event") showEvent(message);
    });
  } catch (error) {
    status.textContent = error.message;
    status.className = "lost";
  }
}

function legend() {
  const list = document.getElementById("legend");
  for (const state of SHOWN_IN_LEGEND) {
    const item = document.createElement("li");
    const patch = document.createElement("span");
    patch.className = `fill-${state}`;
    item.append(patch, STATES[state]);
    list.append(item);
  }
}

const recorded = new RecordedView(() => connection);
legend();
setInterval(() => {
  for (const card of cards.values()) card.player.check();
}, 1000);
connection = new Connection(`ws://${location.host}/api/v1/ws`, {
  onOpen: begin,
  onLost: () => {
    const status = document.getElementById("connection");
    status.textContent = "connection lost, trying again";
    status.className = "lost";
  },
});
