// The page: keeps the stream of updates open and hands them on.

import { call, follow, onTokenWanted } from "./api.js";
import { percent, showCards } from "./cards.js";
import { addDetailEvent, focused, openDetail, setUpDetail, updateDetail, updateOverlay } from "./detail.js";
import { askForToken, setUpAdding } from "./dialog.js";
import { addEvent } from "./events.js";

const $ = (id) => document.getElementById(id);
const SHOWN_EVENTS = 100;
const RETRY_MS = 2000;
const TOLD = new Set(["rule", "error", "load", "added", "removed"]);
let connection = null, asking = null, lastEvent = 0;

function say(text) { $("said").textContent = text; }

function banner(text) { $("banner").textContent = text; $("banner").hidden = !text; }

function showState({ service, streams }) {
  $("fact-live").textContent = `${service.live} of ${service.streams}`;
  $("fact-cpu").textContent = `${service.cpu.toFixed(2)} of ${service.cores} cores`;
  $("fact-memory").textContent = `${Math.round(service.memory_bytes / 2 ** 20)} MB`;
  $("fact-degraded-box").hidden = !service.degraded;
  $("fact-degraded").textContent = service.overload ? `${service.degraded}, ${percent(service.overload)} too much to do` : service.degraded;
  showSinks(service.sinks);
  document.title = `${service.live}/${service.streams} live · ovstream`;
  $("empty").hidden = streams.length > 0;
  showCards($("cameras"), streams, (id) => openDetail(id, reconnect));
  updateDetail(streams);
}

function showSinks(sinks) {
  $("sinks-box").hidden = !sinks.length;
  $("sinks").tBodies[0].replaceChildren(...sinks.map((one) => {
    const row = document.createElement("tr"), name = document.createElement("th");
    name.scope = "row"; name.textContent = one.name;
    const waiting = one.waiting ? `${one.waiting} (${(one.waiting_bytes / 2 ** 20).toFixed(1)} MB)` : "0";
    row.append(name, ...[one.sent, waiting, one.failed + one.dropped].map((value) => Object.assign(document.createElement("td"), { textContent: value })));
    row.className = one.failed + one.dropped ? "bad" : one.waiting > 100 ? "late" : "";
    return row;
  }));
}

function addEvents(events) {
  for (const event of events) {
    if (event.number <= lastEvent) continue;
    lastEvent = event.number;
    addEvent($("events"), event);
    addDetailEvent(event);
    if (TOLD.has(event.kind)) say(`${event.stream_id} ${event.detail}`);
  }
  while ($("events").children.length > SHOWN_EVENTS) $("events").lastElementChild.remove();
  $("no-events").hidden = $("events").children.length > 0;
}

function handle(kind, data) {
  banner("");
  if (kind === "state") showState(data);
  else if (kind === "event") addEvents([data]);
  else if (kind === "overlay") updateOverlay(data);
}

async function connect() {
  for (;;) {
    connection = new AbortController();
    try {
      const events = await call("GET", `/api/events?after=${lastEvent}&limit=${SHOWN_EVENTS}`);
      if (events.length && events[0].number > lastEvent + SHOWN_EVENTS) lastEvent = 0;
      addEvents(events);
      await follow(focused(), handle, connection.signal);
    } catch (error) {
      if (error.name === "AbortError") continue;
      banner(error.status ? error.message : "The service does not answer; trying again.");
      lastEvent = error.status ? lastEvent : 0;
      if (!lastEvent) $("events").replaceChildren();
      await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
    }
  }
}

function reconnect() { connection?.abort(); }

function setUpTheme() {
  const root = document.documentElement, kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
  $("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
}

onTokenWanted((wasWrong) => (asking ??= askForToken(wasWrong).finally(() => { asking = null; })));
setUpTheme();
setUpAdding(say);
setUpDetail(reconnect);
connect();
