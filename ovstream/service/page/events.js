// Lines of the event log.

const REPEATS = new Set(["reconnecting", "waiting", "dropped", "load"]);

export function eventLine(event, withName = true) {
  const line = document.createElement("li"), time = document.createElement("time");
  line.className = event.kind;
  const when = new Date(event.time * 1000);
  time.dateTime = when.toISOString();
  time.textContent = when.toLocaleTimeString();
  line.append(time);
  if (withName && event.stream_id) {
    const name = document.createElement("b");
    name.textContent = event.stream_id;
    line.append(name, " ");
  }
  line.append(event.kind === "rule" ? event.detail : `${event.kind}${event.detail ? `: ${event.detail}` : ""}`);
  return line;
}

// Puts an event on top; what a camera says again and again (its next attempt to connect) takes one line, and is counted.
export function addEvent(list, event, withName = true) {
  const key = `${event.stream_id} ${event.kind}`, top = list.firstElementChild, line = eventLine(event, withName);
  line.dataset.key = key;
  if (top?.dataset.key === key && REPEATS.has(event.kind)) {
    line.dataset.times = Number(top.dataset.times ?? 1) + 1;
    line.append(Object.assign(document.createElement("span"), { className: "times", textContent: `${line.dataset.times} times` }));
    top.remove();
  }
  list.prepend(line);
}
