// The page of one action: its input as a form and as JSON, its run, its output.
import { cancelAction, runAction } from './api.js';
import { $, announce, copyText, formatMs, h, recall, remember } from './dom.js';
import { OutputView, showError } from './output.js';
import { problemsOf } from './schema.js';
import { SchemaForm } from './schema_form.js';
import { snippet } from './snippets.js';

const page = $('#run-form');
const { key, kind, name } = page.dataset;
const schema = JSON.parse($('#schema').content.textContent);
const raw = $('#json');
const problem = $('#json-problem');
const recentKey = `inputs:${key}`;
const RECENT = 12;
let form = null;
let running = null;

// -- the input: one value, two faces

function readJson() {
  problem.hidden = true;
  raw.removeAttribute('aria-invalid');
  if (raw.value.trim() === '') return undefined;
  try {
    return JSON.parse(raw.value);
  } catch (error) {
    problem.hidden = false;
    problem.textContent = `This is not JSON: ${error.message}`;
    raw.setAttribute('aria-invalid', 'true');
    throw error;
  }
}

const writeJson = (value) => { raw.value = value === undefined ? '' : JSON.stringify(value, null, 2); };

function show(face) {
  if (face === 'form') {
    try { form.setValue(readJson()); } catch { raw.focus(); return; }
  }
  $('#form').hidden = face !== 'form';
  $('#json-field').hidden = face === 'form';
  $('#as-form').setAttribute('aria-pressed', String(face === 'form'));
  $('#as-json').setAttribute('aria-pressed', String(face !== 'form'));
  remember('input-face', face);
}

const formShown = () => !$('#form').hidden;

function setInput(value) {
  writeJson(value);
  if (formShown()) form.setValue(value);
}

raw.addEventListener('input', () => { try { readJson(); } catch { /* said beside it */ } });
$('#as-form').addEventListener('click', () => show('form'));
$('#as-json').addEventListener('click', () => show('json'));

// -- recent inputs

function recentInputs() {
  const list = recall(recentKey, []);
  const chooser = $('#recent');
  chooser.hidden = list.length === 0;
  chooser.replaceChildren(h('option', { value: '' }, 'Recent inputs'), ...list.map((one, place) => h('option', { value: place }, JSON.stringify(one)?.slice(0, 60) ?? 'nothing')));
}

$('#recent').addEventListener('change', (event) => {
  const chosen = recall(recentKey, [])[Number(event.target.value)];
  if (event.target.value !== '') setInput(chosen);
  event.target.value = '';
});

function keepInput(value) {
  const text = JSON.stringify(value) ?? 'null';
  if (text.length > 20000) return;
  const others = recall(recentKey, []).filter((one) => JSON.stringify(one) !== text);
  remember(recentKey, [value ?? null, ...others].slice(0, RECENT));
  recentInputs();
}

// -- the run

function readContext() {
  const text = $('#context').value.trim();
  if (!text) return undefined;
  const value = JSON.parse(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('it must be an object');
  return value;
}

function showContextError(error) {
  showError($('#output'), { message: `The context is not usable: ${error.message}` });
  $('#context').closest('details').open = true;
  $('#context').focus();
}

function setRunning(on) {
  $('#run').disabled = on;
  $('#cancel').disabled = !on;
  $('#output').setAttribute('aria-busy', String(on));
}

function traceLink(traceId) {
  const link = $('#trace');
  link.hidden = false;
  link.href = `/traces/${traceId}`;
}

async function run() {
  let input;
  let context;
  try { input = readJson(); } catch { show('json'); raw.focus(); return; }
  try { context = readContext(); } catch (error) { showContextError(error); return; }
  if (formShown()) form.draw();
  keepInput(input);
  const view = new OutputView($('#output'), kind);
  const begun = performance.now();
  const clock = setInterval(() => { $('#run-state').textContent = formatMs(performance.now() - begun); }, 200);
  running = { abort: new AbortController(), traceId: '' };
  $('#trace').hidden = true;
  setRunning(true);
  $('#run-state').textContent = 'running';
  const took = (word) => { clearInterval(clock); $('#run-state').textContent = `${word} ${formatMs(performance.now() - begun)}`; };
  try {
    const options = { context, signal: running.abort.signal, onTrace: (id) => { running.traceId = id; traceLink(id); }, onChunk: (chunk) => view.chunk(chunk) };
    const { result } = await runAction(key, input, options);
    took('done in');
    view.result(result);
    announce('The run is done.');
  } catch (error) {
    took(error.code === 1 || error.name === 'AbortError' ? 'cancelled after' : 'failed after');
    view.fail(error.name === 'AbortError' ? { message: 'The run was cancelled.' } : error);
    if (error.traceId) traceLink(error.traceId);
    const problems = problemsOf(error);
    if (problems.length && formShown()) form.showProblems(problems);
  } finally {
    running = null;
    setRunning(false);
  }
}

page.addEventListener('submit', (event) => { event.preventDefault(); if (!running) run(); });
page.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !running) { event.preventDefault(); run(); }
});
$('#cancel').addEventListener('click', async () => {
  const held = running;
  if (!held) return;
  $('#cancel').disabled = true;
  const gone = held.traceId && await cancelAction(held.traceId).then((answer) => answer.cancelled, () => false);
  if (!gone) held.abort.abort();
});

$('#copy').addEventListener('change', async (event) => {
  const language = event.target.value;
  event.target.value = '';
  let input;
  let context;
  try { input = readJson(); } catch { show('json'); return; }
  try { context = readContext(); } catch (error) { showContextError(error); return; }
  await copyText(await snippet(language, { key, kind, name, input, context }));
  $('#run-state').textContent = 'copied';
});

// -- the start: an input that another page has left, else the last one or the sample

const handed = sessionStorage.getItem(`replay:${key}`);
if (handed !== null) {
  sessionStorage.removeItem(`replay:${key}`);
  raw.value = handed;
}
recentInputs();
if (schema) {
  let value;
  try { value = readJson(); } catch { value = undefined; }
  form = new SchemaForm(schema, value, writeJson);
  $('#form').append(form.element);
  show(recall('input-face', 'form'));
} else {
  $('#as-form').disabled = true;
}
