// One card per camera: lives, moved, costs.

import { call, picture } from "./api.js";
import { SPARK_SECONDS, spark } from "./charts.js";

const PICTURE_EVERY_MS = 2000;
const DECODE_EVERY = 4; // pictures of a quiet camera are decoded for the page now and then
const cards = new Map();

export const percent = (value, digits = 0) => `${(100 * value).toFixed(digits)} %`;
export const milliseconds = (value) => (value == null ? "–" : value < 1 ? `${(1000 * value).toFixed(value < 0.01 ? 1 : 0)} ms` : `${value.toFixed(1)} s`);

export function ago(time) {
  if (time == null) return "no motion yet";
  const seconds = Math.max(0, Date.now() / 1000 - time);
  if (seconds < 3) return "moving now";
  if (seconds < 90) return `moved ${Math.round(seconds)} s ago`;
  return seconds < 5400 ? `moved ${Math.round(seconds / 60)} min ago` : `moved ${Math.round(seconds / 3600)} h ago`;
}

function make(id, open) {
  const root = document.createElement("article");
  root.className = "card";
  root.innerHTML = `<div class="picture"><img alt="" hidden><p class="no-picture">No picture yet</p><span class="badge motion"></span><span class="badge alarm" hidden></span></div>
    <div class="body"><div class="title"><button type="button" class="open"></button><span class="pill"></span></div>
    <p class="why" hidden></p><div class="line"></div><div class="shares" role="img"><i class="skip"></i><i class="sparse"></i><i class="dense"></i></div>
    <div class="row numbers-1"></div></div>`;
  const part = (selector) => root.querySelector(selector);
  part(".open").textContent = id;
  part(".open").addEventListener("click", () => open(id));
  return { root, part, history: [], turn: 0, url: null };
}

async function refresh(id, card) {
  if (document.hidden || card.busy || !card.root.isConnected) return;
  card.busy = true;
  try {
    const blob = await picture(id, 480, card.turn++ % DECODE_EVERY === 0);
    if (blob && cards.get(id) === card) {
      if (card.url) URL.revokeObjectURL(card.url);
      const image = card.part("img");
      image.src = card.url = URL.createObjectURL(blob);
      image.alt = `newest picture of ${id}`;
      image.hidden = false;
      card.part(".no-picture").hidden = true;
    }
  } catch { /* the banner tells of a lost service */ } finally { card.busy = false; }
}

// What happened before the page was opened.
async function recall(id, card) {
  try {
    const points = await call("GET", `/api/streams/${encodeURIComponent(id)}/timeline`);
    card.history = [...points.map((one) => one.activity), ...card.history].slice(-SPARK_SECONDS);
  } catch { /* it fills by itself */ }
}

setInterval(() => { for (const [id, card] of cards) if (!["paused", "failed", "ended"].includes(card.state)) refresh(id, card); }, PICTURE_EVERY_MS);

function show(card, stream) {
  const { part } = card;
  card.state = stream.state;
  card.root.className = `card ${stream.state} ${["paused", "ended", "failed", "stopped"].includes(stream.state) ? "off" : ""}`;
  const pill = part(".pill");
  pill.className = `pill ${stream.state}`;
  pill.textContent = stream.state;
  part(".why").textContent = stream.detail || (stream.quarantined ? `alone in a process: ${stream.crashes} crashed at it` : stream.level ? `does less, level ${stream.level} of 3: the box is full` : "");
  part(".why").hidden = !part(".why").textContent;
  part(".motion").textContent = ago(stream.last_motion);
  part(".motion").hidden = !stream.size;
  const alarms = [...stream.conditions, ...stream.active_rules];
  part(".alarm").hidden = !alarms.length;
  part(".alarm").textContent = alarms.join(", ");
  if (stream.point) card.history = [...card.history, stream.point.activity].slice(-SPARK_SECONDS);
  part(".line").replaceChildren(spark(card.history));
  for (const [name, share] of Object.entries(stream.shares)) part(`.shares .${name}`).style.width = `${100 * share}%`;
  part(".shares").setAttribute("aria-label", `${percent(stream.shares.skip)} skipped, ${percent(stream.shares.sparse)} sparse, ${percent(stream.shares.dense)} dense`);
  const cpu = Object.values(stream.cpu).reduce((sum, one) => sum + one, 0);
  part(".numbers-1").innerHTML = "";
  for (const [value, unit] of [[stream.fps.toFixed(0), "fps"], [percent(cpu, 1), "of a core"], [milliseconds(stream.latency.p50), "latency"], [stream.fps ? percent(stream.shares.skip) : "–", "skipped"]]) {
    const one = document.createElement("span"), bold = document.createElement("b");
    bold.textContent = value;
    one.append(bold, unit);
    part(".numbers-1").append(one);
  }
}

export function showCards(container, streams, open) {
  const names = new Set(streams.map((stream) => stream.id));
  for (const [id, card] of cards) if (!names.has(id)) { card.root.remove(); if (card.url) URL.revokeObjectURL(card.url); cards.delete(id); }
  for (const stream of streams) {
    let card = cards.get(stream.id);
    if (!card) {
      card = make(stream.id, open);
      cards.set(stream.id, card);
      container.append(card.root);
      refresh(stream.id, card);
      recall(stream.id, card);
    }
    show(card, stream);
  }
}

