// Datasets, evaluations and their reports.
import { deleteJson, getJson, postJson, putJson } from './api.js';
import { $, $$, announce, h } from './dom.js';

const EVERY = 400;

function showProblem(form, error) {
  const box = $('.problem', form);
  box.textContent = error ? [error.message, error.hint].filter(Boolean).join(' ') : '';
  box.hidden = !error;
  if (error) box.scrollIntoView({ block: 'nearest' });
}

// Does what a form says, once at a time; what goes wrong stands in the form.
function onSubmit(form, action) {
  form?.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = $('button[type=submit]', form);
    button.disabled = true;
    showProblem(form, null);
    try {
      await action(new FormData(form));
    } catch (error) {
      showProblem(form, error);
    } finally {
      button.disabled = false;
    }
  });
}

async function fileOf(data) {
  const file = data.get('file');
  return file && file.name ? { filename: file.name, text: await file.text() } : {};
}

// -- dialogs

for (const opener of $$('[data-open]')) {
  opener.addEventListener('click', () => document.getElementById(opener.dataset.open).showModal());
}
for (const closer of $$('[data-close]')) closer.addEventListener('click', () => closer.closest('dialog').close());
for (const box of $$('form[data-auto]')) box.addEventListener('change', (event) => { if (event.target.tagName === 'SELECT') box.requestSubmit(); });
for (const button of $$('[data-delete]')) {
  button.addEventListener('click', async () => {
    try {
      await deleteJson(button.dataset.delete);
      location.assign(button.dataset.then);
    } catch (error) {
      announce(error.message);
    }
  });
}

// -- datasets

onSubmit($('form[data-create]'), async (data) => {
  const body = { datasetId: data.get('datasetId').trim(), kind: data.get('kind'), ...(await fileOf(data)) };
  const made = await postJson('/evaluate/datasets', body);
  location.assign(`/evaluate/datasets/${made.datasetId}`);
});

const dataset = $('#dataset');
const FIELDS = {
  examples: [['input', 'Input'], ['reference', 'Reference: what is right'], ['output', 'Output'], ['context', 'Context'], ['testCaseId', 'Row id']],
  judgements: [['query', 'Query'], ['documentId', 'Document'], ['grade', 'Grade: 0 is not relevant'], ['retriever', 'Seen in']],
};
const PLAIN = ['testCaseId', 'query', 'documentId', 'retriever'];

// One value: text as it is, or JSON when the box says so.
function valueField(name, label, value) {
  const isPlain = PLAIN.includes(name);
  const isJson = !isPlain && value !== undefined && typeof value !== 'string';
  const id = `field-${name}`;
  const text = isJson ? JSON.stringify(value, null, 2) : value ?? '';
  const input = isPlain || name === 'grade'
    ? h('input', { id, name, value: text, type: name === 'grade' ? 'number' : 'text', min: name === 'grade' ? 0 : null, required: ['query', 'documentId', 'grade'].includes(name) })
    : h('textarea', { id, name, class: 'code', rows: Math.min(10, Math.max(2, text.split('\n').length)), spellcheck: 'false', value: text });
  const box = h('input', { type: 'checkbox', id: `${id}-json` });
  box.checked = isJson || name === 'context';
  const head = h('div', { class: 'field-head' }, h('label', { for: id }, label),
    isPlain || name === 'grade' ? null : h('label', { class: 'as-json' }, box, 'JSON'));
  const read = () => {
    if (input.value === '') return undefined;
    if (isPlain) return input.value;
    if (!box.checked && name !== 'grade') return input.value;
    try {
      return JSON.parse(input.value);
    } catch (error) {
      input.setAttribute('aria-invalid', 'true');
      input.focus();
      throw new Error(`${label} is not JSON: ${error.message}`);
    }
  };
  return { name, read, element: h('div', { class: 'field' }, head, input) };
}

let fields = [];
let edited = null;

function editRow(row, number) {
  edited = { row, number };
  fields = FIELDS[dataset.dataset.kind].map(([name, label]) => valueField(name, label, name === 'grade' ? row[name] ?? 1 : row[name]));
  $('#row-fields').replaceChildren(...fields.map((one) => one.element));
  $('#row-editor-title').textContent = number === null ? 'New row' : `Row ${number + 1}`;
  showProblem($('#row-editor'), null);
  $('#row-editor').showModal();
}

onSubmit($('form[data-save-row]'), async () => {
  const row = { ...edited.row };
  for (const one of fields) {
    const value = one.read();
    if (value === undefined) delete row[one.name];
    else row[one.name] = value;
  }
  const { base, version } = dataset.dataset;
  if (edited.number === null) await postJson(`${base}/rows`, { rows: [row] });
  else await putJson(`${base}/rows/${edited.number}`, { row, version: Number(version) });
  location.reload();
});

onSubmit($('form[data-append]'), async (data) => {
  await postJson(`${dataset.dataset.base}/rows`, await fileOf(data));
  location.reload();
});

$('[data-add]')?.addEventListener('click', () => editRow({}, null));
for (const line of $$('tr[data-row]')) {
  const number = Number(line.dataset.number);
  $('[data-edit]', line)?.addEventListener('click', () => editRow(JSON.parse(line.dataset.row), number));
  $('[data-remove]', line)?.addEventListener('click', async () => {
    try {
      await deleteJson(`${dataset.dataset.base}/rows/${number}`, { version: Number(dataset.dataset.version) });
      location.reload();
    } catch (error) {
      announce(error.message);
      line.after(h('tr', {}, h('td', { colspan: 6 }, h('p', { class: 'notice error', role: 'alert' }, `${error.message} ${error.hint}`))));
    }
  });
}

// -- what is running

function stage(one) {
  return h('div', { class: 'stage' }, h('span', {}, one.stage), h('span', { class: 'num muted' }, `${one.done} of ${one.total}`),
    h('progress', { max: one.total || 1, value: one.done, 'aria-label': one.stage }));
}

function jobCard(id, title) {
  const stages = h('div', { class: 'stages' });
  const state = h('span', { class: 'status running', role: 'status' }, 'running');
  const stop = h('button', { type: 'button', class: 'button small', onclick: () => postJson(`/evaluate/jobs/${id}/cancel`).catch(() => {}) }, 'Cancel');
  return { stages, state, stop, box: h('div', { class: 'card job', 'data-job': id }, h('div', { class: 'card-head' }, h('h2', {}, title), state, stop), h('div', { class: 'card-body' }, stages)) };
}

async function watch(id, card) {
  for (;;) {
    let job;
    try {
      job = await getJson(`/evaluate/jobs/${id}`);
    } catch (error) {
      card.stages.replaceChildren(h('p', { class: 'notice error', role: 'alert' }, error.message));
      return null;
    }
    card.stages.replaceChildren(...job.stages.map(stage));
    card.state.textContent = job.state;
    if (job.state !== 'running') {
      card.state.className = `status ${job.state === 'done' ? 'ok' : 'error'}`;
      card.stop.remove();
      if (job.error) card.stages.append(h('p', { class: 'notice error', role: 'alert' }, [job.error.message, job.error.hint].filter(Boolean).join(' ')));
      announce(`The evaluation is ${job.state}`);
      return job;
    }
    await new Promise((done) => { setTimeout(done, EVERY); });
  }
}

for (const waiting of $$('#jobs [data-job]')) {
  const card = jobCard(waiting.dataset.job, $('h2', waiting).textContent);
  waiting.replaceWith(card.box);
  watch(waiting.dataset.job, card).then((job) => { if (job?.state === 'done') location.reload(); });
}

// -- a new one

function startBody(data) {
  const options = {};
  for (const box of $$('[data-options]')) {
    if (!box.value.trim()) continue;
    try {
      options[box.dataset.options] = JSON.parse(box.value);
    } catch (error) {
      box.focus();
      throw new Error(`The options of ${box.dataset.options} are not JSON: ${error.message}`);
    }
  }
  return {
    datasetId: data.get('datasetId'), target: data.get('target') || null, evaluators: data.getAll('evaluator'), options,
    name: data.get('name') || null, concurrency: Number(data.get('concurrency')), timeout: data.get('timeout') ? Number(data.get('timeout')) : null,
  };
}

const start = $('#start');
onSubmit(start, async (data) => {
  const job = await postJson('/evaluate/runs', startBody(data));
  const card = jobCard(job.id, job.title);
  start.hidden = true;
  $('#jobs').replaceChildren(card.box);
  card.stop.focus();
  const ended = await watch(job.id, card);
  if (ended?.state === 'done') location.assign(`/evaluate/runs/${ended.runId}`);
  else start.hidden = false;
});
if (start) {
  const count = () => {
    const chosen = $$('input[name=evaluator]:checked', start).length;
    $('#chosen').textContent = chosen ? `${chosen} chosen` : '';
  };
  start.addEventListener('change', count);
  count();
  $('#find-evaluator')?.addEventListener('input', (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const line of $$('.evaluators > li')) line.hidden = !line.dataset.text.includes(wanted) && !$('input', line).checked;
  });
  const fit = () => {
    const target = $('#datasetId').selectedOptions[0]?.dataset.target;
    if (target && !$('#target').value) $('#target').value = target;
    if ($('#target').selectedIndex < 0) $('#target').value = '';
  };
  $('#datasetId').addEventListener('change', fit);
  fit();
}

// -- comparing two

const runs = $('#runs');
if (runs && $('#compare')) {
  const check = () => { $('#compare').disabled = $$('input[name=run]:checked', runs).length !== 2; };
  runs.addEventListener('change', check);
  check();
}
