// One camera, large: picture with overlay, timelines, costs, health, events, and what one may do to it.

import { call, picture } from "./api.js";
import { milliseconds, percent } from "./cards.js";
import { SPARK_SECONDS, drawOverlay, svg, timeline, work } from "./charts.js";
import { addEvent } from "./events.js";

const $ = (id) => document.getElementById(id);
const PICTURE_EVERY_MS = 1000;
const KEPT = 600;
let current = null, points = [], overlay = null, stream = null, timer = 0, url = null;

const layers = () => Object.fromEntries([...$("layers").querySelectorAll("input")].map((box) => [box.name, box.checked]));
const redraw = () => { if (overlay && stream) drawOverlay($("detail-overlay"), overlay, layers(), stream.zones); };

export const focused = () => current;

export async function openDetail(id, onChange) {
  current = id; points = []; overlay = stream = null;
  $("detail-name").textContent = id;
  $("detail-picture").removeAttribute("src");
  $("detail-no-picture").hidden = false;
  $("detail-trouble").hidden = true;
  $("detail-events").replaceChildren();
  const context = $("detail-overlay").getContext("2d");
  context.clearRect(0, 0, 1e5, 1e5);
  $("detail").showModal();
  onChange();
  clearInterval(timer);
  timer = setInterval(refreshPicture, PICTURE_EVERY_MS);
  refreshPicture();
  try {
    const name = encodeURIComponent(id);
    points = await call("GET", `/api/streams/${name}/timeline`);
    const events = await call("GET", `/api/events?stream_id=${name}&limit=50`);
    if (current === id) { $("detail-events").replaceChildren(); for (const one of events) addEvent($("detail-events"), one, false); }
  } catch (error) { trouble(error.message); }
}

async function refreshPicture() {
  const id = current;
  if (!id || document.hidden || (stream && ["paused", "failed"].includes(stream.state))) return;
  try {
    const blob = await picture(id, 1280, true);
    if (!blob || current !== id) return;
    const image = $("detail-picture");
    const old = url;
    image.src = url = URL.createObjectURL(blob);
    image.alt = `newest picture of ${id}`;
    $("detail-no-picture").hidden = true;
    if (old) image.addEventListener("load", () => URL.revokeObjectURL(old), { once: true });
  } catch { /* the next one comes in a second */ }
}

function trouble(text) { $("detail-trouble").textContent = text; $("detail-trouble").hidden = !text; }

function rows(table, entries) {
  table.replaceChildren(...entries.map(([name, value, share]) => {
    const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
    head.scope = "row"; head.textContent = name; cell.textContent = value;
    row.append(head);
    if (share !== undefined) {
      const bar = document.createElement("td");
      bar.className = "bar";
      const style = getComputedStyle(document.documentElement);
      bar.append(svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", class: "meter", "aria-hidden": "true" },
        svg("rect", { width: 100, height: 6, rx: 3, fill: style.getPropertyValue("--well") }), svg("rect", { width: 100 * Math.min(share, 1), height: 6, rx: 3, fill: style.getPropertyValue("--sparse") })));
      row.append(bar);
    }
    if (share === undefined) cell.colSpan = 2;
    row.append(cell);
    return row;
  }));
}

export function updateDetail(streams) {
  if (!current) return;
  stream = streams.find((one) => one.id === current) ?? null;
  if (!stream) { $("detail").close(); return; }
  $("detail-state").className = `pill ${stream.state}`;
  $("detail-state").textContent = stream.state;
  trouble(stream.detail || (stream.fallback ? "No parser reads this stream: FFmpeg decodes every picture. Set the camera to H.264 or H.265, progressive." : ""));
  if (stream.point && stream.point.t !== points.at(-1)?.t) points = [...points, stream.point].slice(-KEPT);
  if (points.length > 1) { $("detail-timeline").replaceChildren(...timeline(points)); $("detail-work").replaceChildren(work(points.slice(-SPARK_SECONDS))); }
  const cpu = Object.values(stream.cpu).reduce((sum, one) => sum + one, 0);
  rows($("detail-cost"), [["CPU, of one core", percent(cpu, 1), cpu], ...Object.entries(stream.cpu).map(([stage, value]) => [`· ${stage}`, percent(value, 2), cpu ? value / cpu : 0]),
    ["memory of caches", `${(stream.memory_bytes / 2 ** 20).toFixed(1)} MB`], ["effort", stream.level ? `degraded, level ${stream.level} of 3` : "full"], ["priority", stream.priority],
    ["process", stream.worker ? `worker ${stream.worker}${stream.quarantined ? ", alone in it" : ""}` : "the service's own"],
    ...(stream.crashes ? [["processes that crashed at it", stream.crashes]] : [])]);
  const totals = stream.totals;
  rows($("detail-health"), [["picture", stream.size ? `${stream.codec} ${stream.size.join("×")}, ${stream.fps.toFixed(1)} fps` : "–"],
    ["latency, median / 99 %", `${milliseconds(stream.latency.p50)} / ${milliseconds(stream.latency.p99)}`], ["drift", stream.drift == null ? "–" : stream.drift.toFixed(3)],
    ["fidelity, audited", stream.fidelity == null ? "no audit yet" : `${stream.fidelity.toFixed(4)} (${stream.audits}${stream.audits_failed ? `, ${stream.audits_failed} failed` : ""})`],
    ["lost / damaged / too late", `${totals.source_lost ?? 0} / ${totals.parse_errors ?? 0} / ${totals.overrun ?? 0}`], ["left out before a keyframe", totals.dropped_for?.keyframe ?? 0], ["reconnects / restarts", `${totals.reconnects ?? 0} / ${stream.restarts}`],
    ["camera", stream.conditions.length ? stream.conditions.join(", ") : stream.state === "live" ? "well" : "–"], ["goes to", stream.sinks.join(", ") || "nowhere yet"],
    ["next number, epoch", `${stream.next_seq}, ${stream.epoch}`], ["model", stream.trained === false ? `${stream.model} (untrained)` : stream.model]]);
  const zoneNames = Object.keys(stream.activity);
  rows($("detail-zones"), [...zoneNames.map((name) => [name || "whole picture", `${percent(stream.activity[name], 1)}${name in stream.novelty ? ` · novelty ${stream.novelty[name].toFixed(1)}` : ""}`, stream.activity[name]]),
    ...stream.rules.map((name) => [`rule ${name}`, stream.active_rules.includes(name) ? "going on" : "quiet"])]);
  $("act-pause").textContent = stream.state === "paused" || stream.state === "failed" ? "Resume" : "Pause";
}

export function updateOverlay(data) {
  if (data.id !== current || !data.grid) return;
  overlay = data;
  redraw();
  const shown = data.changed.length ? `${data.changed.length} of ${data.grid[0] * data.grid[1]} patches changed` : "nothing changed";
  $("detail-why").textContent = `${data.slice} picture, ${data.reason}: ${shown}, ${data.vectors.length} move`;
}

export function addDetailEvent(event) {
  if (event.stream_id === current) addEvent($("detail-events"), event, false);
}

async function act(work) {
  const buttons = [...document.querySelectorAll("#detail .actions button")];
  buttons.forEach((button) => { button.disabled = true; });
  try { await work(encodeURIComponent(current)); } catch (error) { trouble(error.message); } finally { buttons.forEach((button) => { button.disabled = false; }); }
}

export function setUpDetail(onChange) {
  $("detail").addEventListener("close", () => { current = null; clearInterval(timer); onChange(); });
  $("layers").addEventListener("change", redraw);
  addEventListener("resize", redraw);
  $("act-pause").addEventListener("click", () => act((id) => call("POST", `/api/streams/${id}/${$("act-pause").textContent.toLowerCase()}`)));
  $("act-restart").addEventListener("click", () => act((id) => call("POST", `/api/streams/${id}/restart`)));
  $("act-remove").addEventListener("click", () => {
    const button = $("act-remove");
    if (button.textContent === "Remove") { button.textContent = "Really remove?"; setTimeout(() => { button.textContent = "Remove"; }, 4000); return; }
    button.textContent = "Remove";
    act(async (id) => { await call("DELETE", `/api/streams/${id}`); $("detail").close(); });
  });
}
