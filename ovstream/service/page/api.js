// Talks to the service: requests with the token of this tab, and the stream of updates.

let token = sessionStorage.getItem("token") ?? "";
let askForToken = async () => "";

export function onTokenWanted(ask) { askForToken = ask; }

function headers(more = {}) {
  return token ? { ...more, authorization: `Bearer ${token}` } : more;
}

// Relative to the page: the service may be mounted below another one.
const at = (path) => new URL(path.slice(1), document.baseURI);

async function send(path, options = {}) {
  for (;;) {
    const answer = await fetch(at(path), { ...options, headers: headers(options.headers) });
    if (answer.status !== 401) return answer;
    token = await askForToken(Boolean(token));
    sessionStorage.setItem("token", token);
  }
}

async function failure(answer) {
  const body = await answer.json().catch(() => ({}));
  const detail = Array.isArray(body.detail) ? body.detail.map((one) => one.msg).join("\n") : body.detail;
  return Object.assign(new Error(detail ?? `the service answered ${answer.status}`), { status: answer.status });
}

export async function call(method, path, body) {
  const options = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  const answer = await send(path, options);
  if (!answer.ok) throw await failure(answer);
  return answer.status === 204 ? null : answer.json();
}

export async function picture(id, width, fresh) {
  const answer = await send(`/api/streams/${encodeURIComponent(id)}/snapshot.jpg?width=${width}&fresh=${fresh}`);
  if (answer.status === 204) return null;
  if (!answer.ok) throw await failure(answer);
  return answer.blob();
}

// Calls handle(kind, data) for every message until `signal` is aborted; throws when the connection breaks.
export async function follow(focus, handle, signal) {
  const answer = await send(`/api/live${focus ? `?focus=${encodeURIComponent(focus)}` : ""}`, { signal });
  if (!answer.ok) throw await failure(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the service ended the connection");
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const [, kind, data] = /^event: (\w+)\ndata: (.*)$/s.exec(message) ?? [];
      if (kind) handle(kind, JSON.parse(data));
    }
  }
}
