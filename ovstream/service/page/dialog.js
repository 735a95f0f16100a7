// The forms: add a camera, probe it first, and ask for the token.

import { call } from "./api.js";

const $ = (id) => document.getElementById(id);

// What the person filled in, and nothing else: the rest comes from the defaults of the file.
function options() {
  const form = new FormData($("add-form")), text = (name) => form.get(name).trim(), asked = { url: text("url"), stream_id: text("stream_id") };
  const put = (section, name, value) => { asked[section] = { ...asked[section], [name]: value }; };
  if (text("username")) put("source", "username", text("username"));
  if (form.get("password")) put("source", "password", form.get("password"));
  if (text("priority")) put("supervise", "priority", Number(text("priority")));
  if (text("keep_ratio")) put("plan", "keep_ratio", Number(text("keep_ratio")));
  return asked;
}

function trouble(text) { $("add-trouble").textContent = text; $("add-trouble").hidden = !text; }

function report(found) {
  const box = $("probe-report"), facts = document.createElement("p"), list = document.createElement("ul");
  const size = found.width ? `${found.width}×${found.height}, ` : "";
  facts.textContent = `${found.codec} ${found.profile ?? ""}, ${size}${found.fps ? `${found.fps.toFixed(1)} fps, ` : ""}${found.bitrate_kbps ? `${Math.round(found.bitrate_kbps)} kbit/s, ` : ""}keyframe every ${found.gop_seconds ? `${found.gop_seconds.toFixed(1)} s` : "?"}`;
  for (const one of found.findings) {
    const line = document.createElement("li");
    line.className = one.weight;
    line.textContent = one.remedy ? `${one.text} ${one.remedy}` : one.text;
    list.append(line);
  }
  box.replaceChildren(facts, list);
}

async function busy(button, word, work) {
  const before = button.textContent;
  button.disabled = true; button.textContent = word; trouble("");
  try { await work(); } catch (error) { trouble(error.message); } finally { button.disabled = false; button.textContent = before; }
}

export function setUpAdding(say) {
  const open = () => { $("add-form").reset(); $("probe-report").replaceChildren(); trouble(""); $("adding").showModal(); };
  $("add").addEventListener("click", open);
  $("add-first").addEventListener("click", open);
  $("add-cancel").addEventListener("click", () => $("adding").close());
  $("probe").addEventListener("click", () => {
    if (!$("add-form").elements.url.reportValidity()) return;
    const { url, source } = options();
    busy($("probe"), "Probing …", async () => report(await call("POST", "/api/probe", { url, ...(source ?? {}) })));
  });
  $("add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy(event.submitter ?? $("add-form").querySelector("[type=submit]"), "Adding …", async () => {
      const added = await call("POST", "/api/streams", options());
      $("adding").close();
      say(`${added.id} was added`);
    });
  });
}

// Resolves with the token that a person types.
export function askForToken(wasWrong) {
  const dialog = $("asking"), form = $("token-form");
  $("token-trouble").textContent = "This token is not known here.";
  $("token-trouble").hidden = !wasWrong;
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    form.onsubmit = (event) => { event.preventDefault(); const token = form.elements.token.value.trim(); form.reset(); dialog.close(); resolve(token); };
    dialog.oncancel = (event) => event.preventDefault();
  });
}
