// Documents and sources of a store: deleting and re-embedding ask first; chunks light up on the text.
import { runAction } from './api.js';
import { $, $$, announce, h } from './dom.js';
import { documentTable, showError } from './output.js';

const view = $('#view');
const store = view?.dataset.store;
const scope = view ? JSON.parse(view.dataset.scope) : {};
const given = view ? JSON.parse(view.dataset.context) : {};
const context = Object.keys(given).length ? given : undefined;
const count = (number) => number.toLocaleString('en').replaceAll(',', '\u2009');
const run = (verb, input, options = {}) => runAction(`/util/${store}/${verb}`, input, { context, own: true, ...options });

// -- a question before what cannot be undone

const dialog = $('#confirm');
let question = null;

function ask({ title, text, yes, act, embedder = false }) {
  question = { act, stop: new AbortController() };
  $('#confirm-title').textContent = title;
  $('#confirm-text').textContent = text;
  $('#confirm-yes').textContent = yes;
  $('#confirm-yes').disabled = false;
  $('#confirm-embedder').hidden = !embedder;
  $('#confirm-progress').hidden = true;
  $('#confirm-problem').hidden = true;
  dialog.showModal();
  $('#confirm-no').focus();
}

async function confirmed() {
  const { act, stop } = question;
  $('#confirm-yes').disabled = true;
  $('#confirm-problem').hidden = true;
  try {
    announce(await act(stop.signal));
    dialog.close();
  } catch (error) {
    if (error.name === 'AbortError') return;
    const problem = $('#confirm-problem');
    problem.textContent = `${error.message} ${error.hint ?? ''}`;
    problem.hidden = false;
    $('#confirm-yes').disabled = false;
  }
}

if (dialog) {
  $('#confirm-yes').addEventListener('click', confirmed);
  dialog.addEventListener('close', () => question?.stop.abort());
}

// -- what is near to a document: near-duplicates are on top

const NEAR = 10;

async function showSimilar(id) {
  const [box, note] = [$('#similar-body'), $('#similar-note')];
  note.textContent = `to ${id}, by their vectors; what stands on top with a score near the highest may say the same twice.`;
  box.replaceChildren(h('p', { class: 'muted' }, 'Looking…'));
  $('#similar').showModal();
  try {
    const { documents } = (await run('neighbours', { id, k: NEAR, namespace: scope.namespace })).result;
    box.replaceChildren(documents.length ? documentTable(documents) : h('p', {}, 'There is no other document here.'));
    announce(`${documents.length} similar documents`);
  } catch (error) { showError(box, error); }
}

for (const button of $$('[data-similar]')) button.addEventListener('click', () => showSimilar(button.dataset.similar));

function reload() {
  const url = new URL(location.href);
  url.searchParams.delete('after');
  location.assign(url);
}

for (const button of $$('[data-delete]')) {
  const id = button.dataset.delete;
  button.addEventListener('click', () => ask({
    title: 'Delete this document?', text: `${id} goes from ${store}, for good.`, yes: 'Delete',
    act: async () => {
      const { result } = await run('delete', { ids: [id], namespace: scope.namespace });
      const row = button.closest('tr');
      row.classList.add('going');
      button.disabled = true;
      $('#store-count').textContent = count((await run('stats', { namespace: scope.namespace })).result.count);
      return `${result.deleted} deleted`;
    },
  }));
}

$('#delete-passing')?.addEventListener('click', async () => {
  const { result } = await run('page', { ...scope, limit: 1, count: true }); // as it is now, not as it was
  ask({
    title: `Delete ${count(result.total)} documents?`,
    text: `Everything in ${store} that passes ${JSON.stringify(scope.filter)} goes, for good.`,
    yes: `Delete ${count(result.total)}`,
    act: async () => {
      await run('delete', { filter: scope.filter, namespace: scope.namespace });
      location.assign(`/indexes/store?${new URLSearchParams({ store, namespace: scope.namespace, ...(context && { context: JSON.stringify(context) }) })}`);
      return 'Deleted';
    },
  });
});

$('#reembed')?.addEventListener('click', () => ask({
  title: 'Give all documents new vectors?',
  text: `Every document of ${store} is embedded again, in all namespaces. Searches see the old vectors until it is done; closing this stops it and changes nothing.`,
  yes: 'Re-embed', embedder: true,
  act: async (signal) => {
    const bar = $('#confirm-progress');
    bar.hidden = false;
    bar.value = 0;
    const onChunk = ({ done, total }) => {
      bar.value = total ? done / total : 1;
      $('#confirm-text').textContent = `${count(done)} of ${count(total)} documents embedded.`;
    };
    const { result } = await run('reembed', { embedder: $('#embedder').value }, { signal, onChunk });
    setTimeout(reload, 600);
    return `${result.changed} documents have new vectors`;
  },
}));

$('#verify')?.addEventListener('click', async (event) => {
  const button = event.currentTarget;
  const label = button.textContent;
  button.disabled = true;
  button.textContent = 'Reading all data…';
  try {
    const { health } = (await run('stats', { verify: true, namespace: scope.namespace })).result;
    button.textContent = health.problems.length ? `${health.problems.length} problems` : health.verified ? 'All data are well' : label;
    button.title = health.problems.join('\n');
    announce(button.textContent);
  } catch (error) {
    button.textContent = error.message;
  }
  button.disabled = false;
});

// -- a source: a chunk and its row light up together

const light = (number) => {
  for (const one of $$('.on')) one.classList.remove('on');
  if (number === undefined) return;
  for (const piece of $$(`.piece[data-chunks~="${number}"], .chunk-start[data-chunk="${number}"], tr[data-chunk="${number}"]`)) piece.classList.add('on');
};
for (const mark of $$('.chunk-start, .source-view tr[data-chunk]')) {
  mark.addEventListener('pointerenter', () => light(mark.dataset.chunk));
  mark.addEventListener('pointerleave', () => light());
  mark.addEventListener('focusin', () => light(mark.dataset.chunk));
}
if (location.hash && $('#source-text')) {
  const mark = document.getElementById(location.hash.slice(1));
  if (mark) { mark.scrollIntoView({ block: 'center' }); light(mark.dataset.chunk); }
}
