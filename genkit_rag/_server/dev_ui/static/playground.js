// One query, two configurations: retrieves, reranks, explains, compares. The state stands in the address.
import { getJson, postJson, runAction } from './api.js';
import { $, $$, announce, copyText, h, recall, remember } from './dom.js';
import { FilterBuilder } from './filter_builder.js';
import { Outcome, showBudget } from './playground_results.js';

const ask = $('#ask');
const stores = new Set(JSON.parse(ask.dataset.stores));
const NUMBERS = ['k', 'scoreThreshold', 'mmrLambda', 'vectorWeight', 'rerankK'];
const FIELDS = ['retriever', 'mode', 'k', 'namespace', 'scoreThreshold', 'mmrLambda', 'fusion', 'vectorWeight', 'reranker', 'rerankK'];
const OPTIONS = { k: 'k', mode: 'mode', namespace: 'namespace', filter: 'filter', scoreThreshold: 'score_threshold', mmrLambda: 'mmr_lambda', fusion: 'fusion', vectorWeight: 'vector_weight' };
let grades = {};

function callersContext() {
  const text = $('#context').value.trim();
  return text ? JSON.parse(text) : undefined;
}

class Side {
  constructor(letter) {
    this.letter = letter;
    this.section = $(`.side[data-side=${letter}]`);
    this.form = $(`#config-${letter}`);
    this.filter = new FilterBuilder($(`[data-filter=${letter}]`), () => this.changed());
    this.outcome = new Outcome($('[data-out=outcome]', this.section), this, { judge, context: callersContext });
    this.form.addEventListener('submit', (event) => event.preventDefault());
    this.form.addEventListener('change', (event) => { if (event.target.name === 'retriever' || event.target.name === 'namespace') this.learn(); this.changed(); });
    $('[data-act=python]', this.section).addEventListener('click', (event) => copyText(this.python(), event.currentTarget));
  }

  get config() {
    const config = {};
    for (const name of FIELDS) {
      const { value } = this.form.elements[name];
      if (value !== '') config[name] = NUMBERS.includes(name) ? Number(value) : value;
    }
    if (this.filter.valid && this.filter.value) config.filter = this.filter.value;
    return config;
  }

  set config(config) {
    for (const name of FIELDS) if (name in config) this.form.elements[name].value = config[name];
    this.filter.value = config.filter;
  }

  get options() {
    const { config } = this;
    return Object.fromEntries(Object.keys(OPTIONS).filter((name) => name in config).map((name) => [name, config[name]]));
  }

  changed() {
    const { config } = this;
    $('[data-out=name]', this.section).textContent = [config.retriever ?? 'nothing', config.mode, config.reranker && `then ${config.reranker}`].filter(Boolean).join(' · ');
    const more = ['filter', 'scoreThreshold', 'mmrLambda', 'fusion', 'vectorWeight'].filter((name) => name in config).length;
    $('[data-out=more]', this.section).textContent = more ? `(${more} set)` : '';
    this.section.classList.toggle('idle', !config.retriever);
    saveState();
  }

  // The names of fields, for the filter.
  async learn() {
    const { retriever, namespace } = this.config;
    if (!stores.has(retriever)) { this.filter.know([]); return; }
    try {
      const { result } = await runAction(`/util/${retriever}/facets`, { sample: 500, values: 1, namespace: namespace ?? '' }, { context: callersContext(), own: true });
      this.filter.know(result.facets);
    } catch { this.filter.know([]); }
  }

  async run(query) {
    const { config } = this;
    this.found = null;
    if (!config.retriever) { this.outcome.clear(); return; }
    this.outcome.busy();
    try {
      this.found = await retrieve(query, config, this.options);
      if (config.reranker && this.found.documents.length) await rerank(query, config, this.found);
    } catch (error) {
      this.found = null;
      this.outcome.fail(error);
    }
  }

  python() {
    const { config, options } = this;
    const named = Object.entries(options).map(([name, value]) => `${JSON.stringify(OPTIONS[name])}: ${python(value)}`);
    const context = callersContext() ? `, context=${python(callersContext())}` : '';
    const lines = [`found = await ai.retrieve(${python(config.retriever ?? '')}, ${python($('#query').value)}, {${named.join(', ')}}${context})`];
    if (config.reranker) {
      const keep = config.rerankK ? `, {"k": ${config.rerankK}}` : '';
      lines.push(`ranked = await ai.rerank(${python(config.reranker)}, ${python($('#query').value)}, found${keep}${context})`);
    }
    return `${lines.join('\n')}\n`;
  }
}

function python(value) {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value === 'object') return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${python(one)}`).join(', ')}}`;
  return JSON.stringify(value);
}

const sides = [new Side('a'), new Side('b')];

const wire = (query) => ({ content: [{ text: query }] });
const identity = (document) => document.metadata?.id ?? JSON.stringify(document.content);

async function retrieve(query, config, options) {
  const explains = stores.has(config.retriever);
  const key = explains ? `/util/${config.retriever}/explain` : `/retriever/${config.retriever}`;
  const { result, traceId } = await runAction(key, { query: wire(query), options }, { context: callersContext(), own: true });
  const documents = result.documents ?? [];
  return {
    traceId, explains, explanation: explains ? result : null, ids: documents.map(identity), documents,
    retrieved: new Map(documents.map((one, rank) => [identity(one), { rank, score: one.metadata?.score, place: explains ? result.places[rank] : null }])),
    milliseconds: explains ? { ...result.milliseconds } : {},
  };
}

async function rerank(query, config, found) {
  const input = { query: wire(query), documents: found.documents, options: config.rerankK ? { k: config.rerankK } : {} };
  const { result, traceId } = await runAction(`/reranker/${config.reranker}`, input, { context: callersContext(), own: true });
  Object.assign(found, { documents: result.documents, ids: result.documents.map(identity), reranker: config.reranker, rerankTrace: traceId });
}

async function runBoth() {
  const query = $('#query').value.trim();
  if (!query) { $('#query').focus(); return; }
  const [a, b] = sides;
  try { callersContext(); } catch { a.outcome.fail(new Error('The caller’s context is not JSON.')); return; }
  if (sides.some((side) => !side.filter.valid)) { announce('A filter is not JSON'); $('details', sides.find((side) => !side.filter.valid).form).open = true; return; }
  saveState();
  $('#run').disabled = true;
  const marks = getJson(`/playground/judgements?${new URLSearchParams({ dataset: $('#marks').value, query })}`).catch(() => ({ grades: {} }));
  await Promise.all([a.run(query), b.run(query)]);
  grades = (await marks).grades;
  a.outcome.show(query, grades, b.found);
  b.outcome.show(query, grades, a.found);
  $('#run').disabled = false;
  announce(sides.filter((side) => side.found).map((side) => `${side.letter.toUpperCase()}: ${side.found.documents.length} documents`).join(', '));
}

async function judge(documentId, grade, retriever) {
  const query = $('#query').value.trim();
  const made = await postJson('/playground/judge', { dataset: $('#marks').value.trim() || 'judgements', query, documentId, grade, retriever });
  grades[documentId] = grade;
  for (const side of sides) side.outcome.graded(documentId, grade);
  announce(`Marked; ${made.dataset} has ${made.size} marks`);
}

// -- the state in the address

function saveState() {
  if (!ready) return;
  const url = new URL(location.pathname, location.href);
  const query = $('#query').value.trim();
  if (query) url.searchParams.set('q', query);
  for (const side of sides) url.searchParams.set(side.letter, JSON.stringify(side.config));
  if ($('#marks').value !== 'judgements') url.searchParams.set('dataset', $('#marks').value);
  if ($('#context').value.trim()) url.searchParams.set('context', $('#context').value.trim());
  history.replaceState(null, '', url);
  remember('playground', { a: sides[0].config, b: sides[1].config });
}

function loadState() {
  const given = new URL(location.href).searchParams;
  const parsed = (name) => { try { return JSON.parse(given.get(name)); } catch { return null; } };
  const last = given.has('a') || given.has('b') ? {} : recall('playground', {});
  for (const side of sides) {
    const config = parsed(side.letter) ?? last[side.letter];
    const known = [...side.form.elements.retriever.options].some((one) => one.value === (config?.retriever ?? ''));
    side.config = config && known ? { ...(side.letter === 'b' && { retriever: '' }), ...config } : side.letter === 'a' ? {} : { retriever: '' };
  }
  $('#query').value = given.get('q') ?? '';
  if (given.has('dataset')) $('#marks').value = given.get('dataset');
  if (given.has('context')) $('#context').value = given.get('context');
}

let ready = false;
showBudget();
$('#model').addEventListener('change', showBudget);
loadState();
ready = true;
for (const side of sides) { side.changed(); side.learn(); }
ask.addEventListener('submit', (event) => { event.preventDefault(); runBoth(); });
$('#query').addEventListener('keydown', (event) => { if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); runBoth(); } });
for (const form of $$('.config')) form.addEventListener('keydown', (event) => { if (event.key === 'Enter' && event.target.tagName === 'INPUT') { event.preventDefault(); runBoth(); } });
if ($('#query').value) runBoth();
else sides[0].outcome.put(h('p', { class: 'muted' }, 'Ask something; Enter retrieves. B may stay empty, or be another configuration to compare with.'));
