// One trace: the tree by keyboard and mouse, the panel of a span, live growth, replay, dataset, delete.
import { deleteJson, liveEvents, postJson } from './api.js';
import { $, $$, announce, fragment, h, mergeRows, throttle } from './dom.js';
import { enhance } from './shell.js';

const { trace: id, live } = $('#trace').dataset;
const panel = $('#panel');
const rows = () => $$('#tree > .span-row:not([hidden])');
let selected = $('#tree [aria-selected=true]')?.dataset.key ?? '';
let wanted = 0;

// -- a span

async function showSpan(key) {
  const turn = (wanted += 1);
  let nodes;
  try {
    nodes = await fragment(`/traces/${id}/spans/${encodeURIComponent(key)}`);
  } catch (error) {
    nodes = [h('p', { class: 'notice error', role: 'alert' }, error.message)];
  }
  if (turn !== wanted) return; // another one was chosen meanwhile
  panel.replaceChildren(...nodes);
  panel.scrollTop = 0;
  enhance(panel);
  clip();
}

// Long documents show their beginning, so that ranks and scores are seen together.
const LONG_TEXT = 420;

function clip() {
  for (const text of $$('[data-clip]', panel)) {
    if (text.textContent.length < LONG_TEXT) continue;
    const more = h('button', { type: 'button', class: 'link', 'aria-expanded': 'false', onclick: () => {
      const open = !text.classList.toggle('clipped');
      more.textContent = open ? 'Less' : 'All of it';
      more.setAttribute('aria-expanded', String(open));
    } }, 'All of it');
    text.classList.add('clipped');
    text.after(more);
  }
}

clip();

const showSoon = throttle(() => showSpan(selected), 60);

function select(row, focus = true) {
  for (const other of $$('#tree [aria-selected=true]')) {
    other.setAttribute('aria-selected', 'false');
    other.tabIndex = -1;
  }
  row.setAttribute('aria-selected', 'true');
  row.tabIndex = 0;
  if (focus) row.focus({ preventScroll: false });
  if (row.dataset.key === selected) return;
  selected = row.dataset.key;
  history.replaceState(null, '', `?span=${selected}`);
  showSoon();
}

// -- folding

const depth = (row) => Number(row.dataset.depth);

function below(row) {
  const found = [];
  for (let next = row.nextElementSibling; next && depth(next) > depth(row); next = next.nextElementSibling) found.push(next);
  return found;
}

function fold(row, open) {
  if (!row.hasAttribute('aria-expanded')) return;
  row.setAttribute('aria-expanded', String(open));
  let closedAt = Infinity;
  for (const one of below(row)) {
    if (depth(one) <= closedAt) closedAt = Infinity;
    one.hidden = !open || depth(one) > closedAt;
    if (one.getAttribute('aria-expanded') === 'false' && closedAt === Infinity) closedAt = depth(one);
  }
}

function parentOf(row) {
  for (let one = row.previousElementSibling; one; one = one.previousElementSibling) if (depth(one) < depth(row)) return one;
  return null;
}

const KEYS = {
  ArrowDown: (row, all) => all[all.indexOf(row) + 1],
  ArrowUp: (row, all) => all[all.indexOf(row) - 1],
  Home: (row, all) => all[0],
  End: (row, all) => all.at(-1),
  ArrowRight: (row, all) => {
    if (row.getAttribute('aria-expanded') === 'false') { fold(row, true); return null; }
    return row.hasAttribute('aria-expanded') ? all[all.indexOf(row) + 1] : null;
  },
  ArrowLeft: (row) => {
    if (row.getAttribute('aria-expanded') === 'true') { fold(row, false); return null; }
    return parentOf(row);
  },
};

$('#tree-box').addEventListener('keydown', (event) => {
  const row = event.target.closest('.span-row');
  if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    $('#span-title')?.focus();
  } else if (KEYS[event.key]) {
    event.preventDefault();
    const next = KEYS[event.key](row, rows());
    if (next) select(next);
  }
});

$('#tree-box').addEventListener('click', (event) => {
  const row = event.target.closest('.span-row');
  if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (event.target.closest('.fold')) fold(row, row.getAttribute('aria-expanded') === 'false');
  else select(row);
});

// -- live

async function grow() {
  const fresh = document.createElement('div');
  try { fresh.append(...await fragment(`/traces/${id}/tree?span=${selected}`)); } catch { return; }
  const closed = new Set($$('#tree [aria-expanded=false]').map((row) => row.dataset.key));
  for (const part of ['.trace-facts', '.axis']) $(`#tree-box ${part}`).replaceWith($(part, fresh));
  const before = $(`#s-${CSS.escape(selected)}`)?.dataset.version;
  mergeRows($('#tree'), $('#tree', fresh));
  for (const row of $$('#tree > .span-row')) if (closed.has(row.dataset.key)) fold(row, false);
  enhance($('#tree-box'));
  if ($(`#s-${CSS.escape(selected)}`)?.dataset.version !== before) showSpan(selected);
}

if (live) {
  const soon = throttle(grow, 100);
  liveEvents(`/api/traces/${id}/stream`, (event) => {
    if (event.type === 'span_start' || event.type === 'span_end' || event.type === 'dropped') soon();
    if (event.type === 'deleted') { announce('The trace was deleted.'); location.href = '/traces'; }
  });
}

// -- what can be done with it

panel.addEventListener('click', (event) => {
  const replay = event.target.closest('[data-replay]');
  const jump = event.target.closest('[data-span]');
  const dataset = event.target.closest('[data-dataset]');
  if (replay) {
    const input = $('.replay-input', panel).content.textContent;
    if (input) sessionStorage.setItem(`replay:${replay.dataset.replay}`, input);
  } else if (jump) {
    const row = $(`#s-${CSS.escape(jump.dataset.span)}`);
    if (row) { event.preventDefault(); select(row); }
  } else if (dataset) {
    $('#dataset-problem').hidden = true;
    $('#dataset-form').dataset.span = dataset.dataset.dataset;
    $('#dataset-dialog').showModal();
  }
});

$('#dataset-close').addEventListener('click', () => $('#dataset-dialog').close());
$('#dataset-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const problem = $('#dataset-problem');
  try {
    const made = await postJson(`/traces/${id}/dataset`, { spanId: event.target.dataset.span, datasetId: $('#dataset').value });
    $('#dataset-dialog').close();
    announce(`Added to ${made.datasetId}, which has ${made.size} rows now.`);
    const said = h('p', { class: 'notice', role: 'status' }, 'Added to ', h('a', { href: `/evaluate/datasets/${encodeURIComponent(made.datasetId)}` }, made.datasetId), `: ${made.size} ${made.size === 1 ? 'row' : 'rows'}.`);
    $('.card-body', panel).prepend(said);
  } catch (error) {
    problem.hidden = false;
    problem.textContent = `${error.message} ${error.hint ?? ''}`;
  }
});

$('#delete').addEventListener('click', async () => {
  await deleteJson(`/api/traces/${id}`);
  location.href = '/traces';
});

if (new URLSearchParams(location.search).has('span')) $('#tree [aria-selected=true]')?.scrollIntoView({ block: 'nearest' });
