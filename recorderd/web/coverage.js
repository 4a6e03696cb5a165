// One camera's coverage: every second of the window with its state in colour and in words.
// Knows one bar and one list; times are milliseconds UTC.

import { clockText, durationText, paramsText, stateText } from "/web/words.js";

const LISTED = 3;
const QUIET = new Set(["recorded", "not-scheduled"]); // in the bar, but nothing to tell

export class CoverageBar {
  constructor(bar, causes, scale) {
    this.bar = bar;
    this.causes = causes;
    this.scale = scale;
    this.intervals = [];
  }

  // `from`: everything known from there on is replaced by `intervals`.
  update(startMs, endMs, from, intervals) {
    const kept = [];
    for (const one of this.intervals) {
      if (one.end <= startMs || one.start >= from) continue;
      kept.push(one.end > from ? { ...one, end: from } : one);
    }
    for (const one of intervals) {
      kept.push({ ...one, start: Math.max(Date.parse(one.start), from), end: Date.parse(one.end) });
    }
    this.intervals = kept;
    this.draw(startMs, endMs);
  }

  // The moment under a pointer event; null before anything was drawn.
  timeAt(event) {
    if (!this.shown) return null;
    const box = this.bar.getBoundingClientRect();
    return this.shown.startMs + (this.shown.width * (event.clientX - box.left)) / box.width;
  }

  draw(startMs, endMs) {
    const width = endMs - startMs;
    this.shown = { startMs, width };
    const parts = this.intervals.map((one) => {
      const part = document.createElement("i");
      const left = Math.max(0, one.start - startMs);
      part.className = `fill-${look(one)}`;
      part.style.left = `${(100 * left) / width}%`;
      part.style.width = `${(100 * (Math.min(one.end, endMs) - startMs - left)) / width}%`;
      part.title = sentence(one);
      return part;
    });
    this.bar.replaceChildren(...parts);
    this.scale.replaceChildren(label(clockText(startMs)), label(clockText(endMs)));
    const told = this.intervals.filter((one) => !QUIET.has(look(one))).slice(-LISTED).reverse();
    this.causes.replaceChildren(...told.map((one) => {
      const item = document.createElement("li");
      item.className = `text-${look(one)}`;
      item.textContent = sentence(one);
      return item;
    }));
    this.bar.setAttribute("aria-label", told.length ? told.map(sentence).join("; ") : "nothing missing");
  }
}

function look(one) {
  return one.state === "recorded" && one.damaged ? "damaged" : one.state;
}

function sentence(one) {
  const what = stateText(look(one), one.reason);
  const loss = one.damaged ? `: ${one.damaged.packets} packets, ${one.damaged.frames} frames` : "";
  const params = paramsText(one.params);
  const more = params ? ` · ${params}` : "";
  return `${clockText(one.start)} ${durationText(one.end - one.start)} ${what}${loss}${more}`;
}

function label(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}
