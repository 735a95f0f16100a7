// Lines of the event log.

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
