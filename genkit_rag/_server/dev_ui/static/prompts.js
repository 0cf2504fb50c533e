// The page of one prompt: its variables, what they make of it, its answer, its source.
import { cancelAction, postJson, runAction } from './api.js';
import { $, announce, copyText, formatMs, h, recall, remember, throttle } from './dom.js';
import { jsonView } from './json_view.js';
import { OutputView, showError } from './output.js';
import { problemsOf } from './schema.js';
import { SchemaForm } from './schema_form.js';
import { python } from './snippets.js';

const page = $('#prompt');
const { key, name, variant } = page.dataset;
const schema = JSON.parse($('#schema').content.textContent);
const defaults = JSON.parse($('#default').content.textContent);
const source = $('#source');
const recentKey = `variables:${key}`;
const RECENT = 12;
let written = source?.value;
let version = page.dataset.version;
let form = null;
let running = null;
let latest = 0;

const isEdited = () => source !== null && source.value !== written;
const defined = (value) => value !== undefined && value !== null;

// -- the variables

function readInput() {
  if (form) return form.value;
  const text = $('#json').value.trim();
  return text ? JSON.parse(text) : undefined;
}

function readContext() {
  const text = $('#context').value.trim();
  if (!text) return undefined;
  const value = JSON.parse(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('The context must be an object.');
  return value;
}

function setInput(value) {
  if (form) form.setValue(value);
  else $('#json').value = defined(value) ? JSON.stringify(value, null, 2) : '';
  render();
}

function recentVariables() {
  const list = recall(recentKey, []);
  const chooser = $('#recent');
  chooser.hidden = list.length === 0;
  chooser.replaceChildren(h('option', { value: '' }, 'Recent variables'), ...list.map((one, place) => h('option', { value: place }, JSON.stringify(one).slice(0, 60))));
}

function keepVariables(value) {
  const text = JSON.stringify(value ?? null);
  if (text.length > 20000 || text === 'null') return;
  remember(recentKey, [value, ...recall(recentKey, []).filter((one) => JSON.stringify(one) !== text)].slice(0, RECENT));
  recentVariables();
}

$('#recent').addEventListener('change', (event) => {
  if (event.target.value !== '') setInput(recall(recentKey, [])[Number(event.target.value)]);
  event.target.value = '';
});

// -- what the model would get

function part(one) {
  if (typeof one.text === 'string') return h('div', { class: 'said' }, one.text);
  const url = one.media?.url;
  if (typeof url === 'string' && url.startsWith('data:image/')) return h('img', { src: url, alt: 'An image of the prompt', class: 'media' });
  return jsonView(one);
}

function message(one, tokens) {
  return h('article', { class: 'message', 'data-role': one.role, 'aria-label': `Message of ${one.role}` },
    h('header', { class: 'row' }, h('span', { class: 'role' }, one.role), h('span', { class: 'muted' }, `about ${tokens} tokens`)),
    ...(one.content ?? []).map(part));
}

function more(label, value) {
  return defined(value) && h('details', {}, h('summary', {}, label), jsonView(value));
}

async function render() {
  const turn = ++latest;
  let body;
  try {
    body = { key, input: readInput(), context: readContext(), ...(isEdited() ? { source: source.value } : {}) };
  } catch (error) {
    showError($('#rendered'), { message: `This is not JSON: ${error.message}` });
    return;
  }
  $('#rendered').setAttribute('aria-busy', 'true');
  try {
    const { request, tokens, totalTokens } = await postJson('/prompts/render', body);
    if (turn !== latest) return;
    const messages = (request?.messages ?? []).map((one, place) => message(one, tokens[place]));
    const rest = [more('Tools', request?.tools), more('Config', request?.config), more('Output', request?.output), more('Documents', request?.docs)];
    $('#rendered').replaceChildren(...(messages.length ? messages : [h('p', { class: 'muted' }, 'It renders to no message.')]), ...rest.filter(Boolean));
    $('#tokens').textContent = `about ${totalTokens} tokens`;
  } catch (error) {
    if (turn !== latest) return;
    $('#tokens').textContent = '';
    const homeless = form ? form.showProblems(problemsOf(error).map((one) => ({ ...one, path: one.path.replace('$.input', '$') }))) : [];
    showError($('#rendered'), error);
    if (homeless.length) $('#rendered').append(h('ul', { class: 'plain' }, homeless.map((one) => h('li', {}, `${one.path}: ${one.problem}`))));
  } finally {
    if (turn === latest) $('#rendered').removeAttribute('aria-busy');
  }
}

const soon = throttle(render, 500);

// -- the answer

function target(input) {
  return isEdited() ? ['/util/run-prompt', { source: source.value, input, name: key }] : [`/executable-prompt/${key}`, input];
}

async function run() {
  let input;
  let context;
  try { input = readInput(); context = readContext(); } catch (error) { showError($('#output'), { message: error.message }); return; }
  keepVariables(input);
  render();
  const view = new OutputView($('#output'), 'executable-prompt');
  const begun = performance.now();
  const took = (word) => { $('#run-state').textContent = `${word} ${formatMs(performance.now() - begun)}`; };
  running = { abort: new AbortController(), traceId: '' };
  const onTrace = (id) => { running.traceId = id; $('#trace').href = `/traces/${id}`; $('#trace').hidden = false; };
  $('#run').disabled = true;
  $('#cancel').disabled = false;
  $('#trace').hidden = true;
  $('#run-state').textContent = 'running';
  try {
    const [action, value] = target(input);
    const { result } = await runAction(action, value, { context, signal: running.abort.signal, onTrace, onChunk: (chunk) => view.chunk(chunk) });
    view.result(result);
    took('done in');
    announce('The answer is there.');
  } catch (error) {
    took(error.code === 1 || error.name === 'AbortError' ? 'cancelled after' : 'failed after');
    view.fail(error.name === 'AbortError' ? { message: 'The run was cancelled.' } : error);
  } finally {
    running = null;
    $('#run').disabled = false;
    $('#cancel').disabled = true;
  }
}

$('#variables').addEventListener('submit', (event) => { event.preventDefault(); if (!running && page.dataset.run) run(); });
page.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !running && page.dataset.run) { event.preventDefault(); run(); }
});
$('#render').addEventListener('click', () => { try { keepVariables(readInput()); } catch { /* said below */ } render(); });
$('#json').addEventListener('input', soon);
$('#context').addEventListener('input', soon);
$('#cancel')?.addEventListener('click', async () => {
  const held = running;
  if (!held) return;
  $('#cancel').disabled = true;
  const gone = held.traceId && await cancelAction(held.traceId).then((answer) => answer.cancelled, () => false);
  if (!gone) held.abort.abort();
});

// -- the source

function say(text, tone = '') {
  const box = $('#saved');
  box.className = `notice ${tone}`;
  box.hidden = false;
  box.textContent = text;
}

function showEdited() {
  $('#changed').hidden = !isEdited();
  if ($('#reset')) $('#reset').disabled = !isEdited();
}

async function save(saveAs) {
  try {
    const saved = await postJson('/prompts/save', saveAs ? { key, source: source.value, saveAs } : { key, source: source.value, version });
    if (!saveAs) version = saved.version;
    say(`Saved as ${saved.path}. The app reads it when it starts again.`);
  } catch (error) {
    say([error.message, error.hint].filter(Boolean).join(' '), 'error');
  }
}

function download() {
  const link = h('a', { href: URL.createObjectURL(new Blob([source.value], { type: 'text/plain' })), download: `${key.split('/').pop()}.prompt` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

source?.addEventListener('input', () => { showEdited(); soon(); });
$('#reset')?.addEventListener('click', () => { source.value = written; showEdited(); render(); source.focus(); });
$('#save')?.addEventListener('click', () => save(''));
$('#download')?.addEventListener('click', download);
$('#save-as')?.addEventListener('submit', (event) => { event.preventDefault(); save($('#save-name').value.trim()); });
addEventListener('beforeunload', (event) => { if (isEdited() && $('#saved')?.hidden) event.preventDefault(); });

function asPython(input) {
  const of = variant ? `${python(name)}, variant=${python(variant)}` : python(name);
  const value = defined(input) ? python(input) : '';
  return `prompt = await ai.get_prompt(${of})\nresponse = await prompt(${value})\nprint(response.text)\n`;
}

$('#copy').addEventListener('change', async (event) => {
  const form_ = event.target.value;
  event.target.value = '';
  if (form_ === 'prompt') await copyText(source.value);
  else if (form_ === 'python') { try { await copyText(asPython(readInput())); } catch (error) { say(error.message, 'error'); return; } }
  $('#run-state').textContent = 'copied';
});

// -- the start

recentVariables();
const last = recall(recentKey, [])[0] ?? defaults ?? undefined;
if (schema) {
  form = new SchemaForm(schema, last, soon);
  $('#form').append(form.element);
} else {
  $('#form').hidden = true;
  $('#json-field').hidden = false;
  if (defined(last)) $('#json').value = JSON.stringify(last, null, 2);
}
render();
