// Talks to the server. Writes are JSON: the server refuses everything else.

export class ApiError extends Error {
  constructor(body, status) {
    super(body?.message ?? `HTTP ${status}`);
    this.hint = body?.hint ?? '';
    this.code = body?.code ?? 13;
    this.details = body?.details ?? {};
    this.http = status;
  }
}

async function request(method, path, body, signal) {
  const headers = { Accept: 'application/json' };
  if (method !== 'GET') headers['Content-Type'] = 'application/json';
  const text = method === 'GET' ? undefined : JSON.stringify(body ?? {});
  let response;
  try {
    response = await fetch(path, { method, headers, body: text, signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError({ message: 'The developer server does not answer.', hint: 'Is `genkit-rag start` still running?' }, 0);
  }
  if (!response.ok) throw new ApiError(await response.json().catch(() => null), response.status);
  return response;
}

export const getJson = async (path, signal) => (await request('GET', path, undefined, signal)).json();
export const postJson = async (path, body, signal) => (await request('POST', path, body, signal)).json();
export const putJson = async (path, body, signal) => (await request('PUT', path, body, signal)).json();
export const deleteJson = async (path, body) => (await request('DELETE', path, body)).json();

// Yields the JSON values of a body with one a line.
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split('\n');
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
  if (rest) yield JSON.parse(rest);
}

// Runs an action: {result, traceId}, or throws an ApiError (its `details.problems` name fields).
// Options: context, signal (aborting cancels the action), onTrace(traceId), onChunk(chunk), own (fills the screen: the
// list of traces leaves it out).
export async function runAction(key, input, options = {}) {
  const body = { key, input, context: options.context, own: options.own };
  const response = await request('POST', '/ui/run', body, options.signal);
  let traceId = '';
  for await (const event of lines(response)) {
    if (event.traceId && !traceId) { traceId = event.traceId; options.onTrace?.(traceId); }
    if ('chunk' in event) options.onChunk?.(event.chunk);
    else if ('error' in event) throw Object.assign(new ApiError(event.error, 200), { traceId });
    else if ('result' in event) return { result: event.result, traceId };
  }
  throw Object.assign(new ApiError({ message: 'The app went away before it had answered.' }, 200), { traceId });
}

export const cancelAction = (traceId) => postJson('/ui/cancel', { traceId });

// Server-sent events; the browser reconnects. Returns a function that ends them.
export function liveEvents(path, onEvent, onState = () => {}) {
  const source = new EventSource(path);
  source.onopen = () => onState(true);
  source.onerror = () => onState(false);
  source.onmessage = (event) => onEvent(JSON.parse(event.data));
  source.addEventListener('dropped', () => onEvent({ type: 'dropped' }));
  addEventListener('pagehide', () => source.close());
  return () => source.close();
}
